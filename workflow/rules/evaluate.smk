# The losses and tasks of every checkpoint, the results gathered from them, and the report.


rule evaluate:
    input:
        run="runs/{lineage}/manifest.json",
        tokens=each_language("data/tokens/{language}/manifest.json"),
        tokenizer="data/tokenizer/manifest.json",
    output:
        "results/evaluation/{lineage}/manifest.json",
    log:
        "logs/evaluate/{lineage}.log",
    benchmark:
        "logs/evaluate/{lineage}.tsv"
    threads: EXPERIMENT.params.train.threads
    resources:
        gpu=GPU,
        mem_mb=lambda w, input: memory(
            evaluation_mb,
            input.run,
            EXPERIMENT.params.evaluate.batch_size,
            EXPERIMENT.params.train.context_length,
        ),
    params:
        spec=spec("evaluate", lambda w: EXPERIMENT.evaluation),
        tokens=each_language("data/tokens/{language}"),
    shell:
        "palimpsest --label evaluate/{wildcards.lineage:q} evaluate --spec .snakemake/specs/{params.spec:q}.json "
        "--parent runs/{wildcards.lineage:q} --tokens {params.tokens:q} --tokenizer data/tokenizer "
        "--out results/evaluation/{wildcards.lineage:q} 2>&1 | keep {log:q}"


rule tasks:
    input:
        run="runs/{lineage}/manifest.json",
        raw=expand(
            "data/raw/{language}/manifest.json", language=EXPERIMENT.tasks.samples
        ),
    output:
        "results/tasks/{lineage}/manifest.json",
    log:
        "logs/tasks/{lineage}.log",
    benchmark:
        "logs/tasks/{lineage}.tsv"
    threads: EXPERIMENT.params.train.threads
    resources:
        gpu=GPU,
        mem_mb=lambda w, input: memory(
            tasks_mb, input.run, EXPERIMENT.params.evaluate.batch_size
        ),
    params:
        spec=spec("tasks", lambda w: EXPERIMENT.tasks),
        raw=expand("data/raw/{language}", language=EXPERIMENT.tasks.samples),
    shell:
        "palimpsest --label tasks/{wildcards.lineage:q} tasks --spec .snakemake/specs/{params.spec:q}.json "
        "--parent runs/{wildcards.lineage:q} --raw {params.raw:q} "
        "--out results/tasks/{wildcards.lineage:q} 2>&1 | keep {log:q}"


rule gather:
    input:
        each_checkpoint("results/evaluation/{lineage}/manifest.json", EXPERIMENT.arms),
        (
            each_checkpoint("results/tasks/{lineage}/manifest.json", EXPERIMENT.arms)
            if EXPERIMENT.tasks.tasks
            else []
        ),
        each_language("data/raw/{language}/manifest.json"),
        each_language("data/corpus/{language}/manifest.json"),
    output:
        "results/eval_all.json",
        "results/metrics.json",
        curves="results/plots/loss_curves.csv",
        matrix="results/plots/loss_matrix.csv",
        forgetting="results/plots/forgetting.csv",
        ledger="results/plots/ledger.csv",
        alignment="results/plots/alignment.csv",
        tables=expand(
            "results/tables/{table}.csv",
            table=["headline", "ledger", "data", "sources", "dropped", "tasks"],
        ),
    log:
        "logs/gather.log",
    benchmark:
        "logs/gather.tsv"
    threads: 1
    params:
        spec=spec("gather", lambda w: EXPERIMENT.gather),
    shell:
        "palimpsest --label gather gather --spec .snakemake/specs/{params.spec:q}.json 2>&1 | keep {log:q}"


rule report:
    input:
        eval_all="results/eval_all.json",
        curves="results/plots/loss_curves.csv",
        alignment="results/plots/alignment.csv",
        scaling="results/scaling.json",
        corpora=each_language("data/corpus/{language}/manifest.json"),
    output:
        "results/report.html",
    log:
        "logs/report.log",
    benchmark:
        "logs/report.tsv"
    threads: 1
    params:
        revision=REPORT_REVISION,
        corpora=each_language("data/corpus/{language}"),
    shell:
        "palimpsest --label report report --eval-all {input.eval_all:q} --curves {input.curves:q} "
        "--alignment {input.alignment:q} --scaling {input.scaling:q} --corpora {params.corpora:q} "
        "--out {output:q} 2>&1 | keep {log:q}"


rule sweep:
    input:
        each_checkpoint(
            "results/evaluation/{lineage}/manifest.json",
            *(arms for _, arms in EXPERIMENT.sweep),
        ),
    output:
        "results/sweep.json",
    log:
        "logs/sweep.log",
    benchmark:
        "logs/sweep.tsv"
    threads: 1
    params:
        spec=spec("sweep", lambda w: EXPERIMENT.sweep_results),
    shell:
        "palimpsest --label sweep sweep --spec .snakemake/specs/{params.spec:q}.json 2>&1 | keep {log:q}"


rule scaling:
    input:
        "results/sweep.json",
    output:
        "results/scaling.json",
    log:
        "logs/scaling.log",
    benchmark:
        "logs/scaling.tsv"
    threads: 1
    params:
        revision=SCALING_REVISION,
    shell:
        "palimpsest --label scaling scaling --sweep {input:q} --out {output:q} 2>&1 | keep {log:q}"
