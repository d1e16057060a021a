# The lineages: the initial model, then stage upon stage. One wildcard rule trains them all, in parallel where cores allow.
# A rule declares only the manifest, written last: Snakemake removes the outputs of a job that failed, and checkpoints must stay.


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
        spec=spec(lambda w: EXPERIMENT.lineages[w.root].spec),
    shell:
        "palimpsest --label {wildcards.root} init --spec {params.spec:q} --tokenizer data/tokenizer "
        "--out runs/{wildcards.root} 2>&1 | keep {log}"


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
        spec=spec(lambda w: lineage_of(w).pool_spec()),
        tokens=lambda w: expand("data/tokens/{language}", language=lineage_of(w).past),
    shell:
        "palimpsest --label replay/{wildcards.lineage} replay --spec {params.spec:q} --tokens {params.tokens:q} "
        "--out data/replay/{wildcards.lineage} 2>&1 | keep {log}"


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
    threads: lambda w: lineage_of(w).spec["train"]["threads"] * processes_of(w)
    resources:
        gpu=lambda w: GPU * processes_of(w),
        mem_mb=lambda w, input: memory(
            training_mb, input.parent, lineage_of(w).spec["train"]
        ),
        # Not params: those are what a change of reruns, and these shape nothing.
        checkpoint_interval=EXPERIMENT.params.train.checkpoint_interval,
        keep_checkpoints=EXPERIMENT.params.train.keep_checkpoints,
        loggers=" ".join(EXPERIMENT.params.train.loggers),
        on_bad_step=EXPERIMENT.params.train.on_bad_step,
    params:
        spec=spec(lambda w: lineage_of(w).spec),
        launch=launch,
        parent=lambda w: f"runs/{lineage_of(w).parent.path}",
        tokens=each_language("data/tokens/{language}"),
        pool=lambda w: (
            ["--pool", f"data/replay/{w.lineage}"] if lineage_of(w).replays else []
        ),
    shell:
        "{params.launch} --label {wildcards.lineage} train --spec {params.spec:q} --parent {params.parent:q} "
        "--tokens {params.tokens:q} --tokenizer data/tokenizer {params.pool:q} "
        "--checkpoint-interval {resources.checkpoint_interval} "
        "--keep-checkpoints {resources.keep_checkpoints} --on-bad-step {resources.on_bad_step} "
        "--loggers {resources.loggers} "
        "--out runs/{wildcards.lineage} 2>&1 | keep {log}"


localrules:
    train_all,


rule train_all:
    input:
        each_checkpoint(
            "runs/{lineage}/manifest.json",
            EXPERIMENT.arms,
            *(arms for _, arms in EXPERIMENT.sweep),
        ),
