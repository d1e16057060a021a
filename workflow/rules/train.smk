# The lineages: the initial model, then one stage after another. One wildcard rule trains them all, in parallel if cores allow.
# A rule declares only the manifest, written last: Snakemake deletes the declared outputs of a failed job, and checkpoints must survive.


rule init:
    input:
        "data/tokenizer/manifest.json",
    output:
        "runs/{root}/manifest.json",
    log:
        "logs/train/{root}.log",
    benchmark:
        "logs/train/{root}.tsv"
    threads: 1
    params:
        spec=spec("init", lambda w: EXPERIMENT.lineages[w.root].spec),
    shell:
        "palimpsest --label {wildcards.root:q} init --spec .snakemake/specs/{params.spec:q}.json --tokenizer data/tokenizer "
        "--out runs/{wildcards.root:q} 2>&1 | keep {log:q}"


rule replay:
    input:
        lambda w: expand(
            "data/tokens/{language}/manifest.json", language=lineage_of(w).past
        ),
    output:
        "data/replay/{lineage}/manifest.json",
    log:
        "logs/replay/{lineage}.log",
    benchmark:
        "logs/replay/{lineage}.tsv"
    threads: 1
    params:
        spec=spec("replay", lambda w: EXPERIMENT.pool(w.lineage)),
        tokens=lambda w: expand("data/tokens/{language}", language=lineage_of(w).past),
    shell:
        "palimpsest --label replay/{wildcards.lineage:q} replay --spec .snakemake/specs/{params.spec:q}.json --tokens {params.tokens:q} "
        "--out data/replay/{wildcards.lineage:q} 2>&1 | keep {log:q}"


rule train:
    input:
        parent=lambda w: f"runs/{lineage_of(w).parent.path}/manifest.json",
        tokens=each_language("data/tokens/{language}/manifest.json"),
        tokenizer="data/tokenizer/manifest.json",
        pool=lambda w: (
            [f"data/replay/{w.lineage}/manifest.json"] if lineage_of(w).replays else []
        ),
    output:
        "runs/{lineage}/manifest.json",
    log:
        "logs/train/{lineage}.log",
    benchmark:
        "logs/train/{lineage}.tsv"
    wildcard_constraints:
        lineage=r"[^/]+/.+",
    threads: lambda w: lineage_of(w).training.train.threads * processes_of(w)
    resources:
        gpu=lambda w: GPU * processes_of(w),
        mem_mb=lambda w, input: memory(
            training_mb, input.parent, lineage_of(w).training.train
        ),
    params:
        spec=spec("train", lambda w: lineage_of(w).training),
        launch=launch,
        parent=lambda w: f"runs/{lineage_of(w).parent.path}",
        tokens=each_language("data/tokens/{language}"),
        pool=lambda w: (
            ["--pool", f"data/replay/{w.lineage}"] if lineage_of(w).replays else []
        ),
    shell:
        "{params.launch} --label {wildcards.lineage:q} train --spec .snakemake/specs/{params.spec:q}.json --parent {params.parent:q} "
        "--tokens {params.tokens:q} --tokenizer data/tokenizer {params.pool:q} "
        "--out runs/{wildcards.lineage:q} 2>&1 | keep {log:q}"


localrules:
    train_all,


rule train_all:
    input:
        each_checkpoint(
            "runs/{lineage}/manifest.json",
            EXPERIMENT.arms,
            *(arms for _, arms in EXPERIMENT.sweep),
        ),
