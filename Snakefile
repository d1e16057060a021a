# The whole job as a table of contents: params.yaml → raw → corpus → tokens → replay → train → evaluate → report.
# `snakemake --cores all` makes everything; `snakemake -n` says what would run, and why.


# No rule needs a container; the line names the one that clusters without a Python of their own may use.
container: "docker://python:3.11-slim"


include: "workflow/rules/common.smk"
include: "workflow/rules/corpus.smk"
include: "workflow/rules/tokens.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"


rule all:
    default_target: True
    input:
        "data/raw/outside.json",
        "results/eval_all.json",
        "results/report.html",
