# The whole pipeline as a table of contents: params.yaml → raw → corpus → tokens → replay → train → evaluate → report.
# `snakemake --cores all` builds everything; `snakemake -n` lists what would run, and why.


# No rule needs a container; this is the image for clusters without a suitable Python.
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
