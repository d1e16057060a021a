# Raw text, and the cleaned corpus made from it.


rule raw:
    output:
        "data/raw/{language}/manifest.json",
    log:
        "logs/raw/{language}.log",
    benchmark:
        "logs/raw/{language}.tsv"
    threads: 1
    params:
        spec=spec("raw", lambda w: EXPERIMENT.raw(w.language)),
    shell:
        "palimpsest --label raw/{wildcards.language:q} raw --spec .snakemake/specs/{params.spec:q}.json "
        "--out data/raw/{wildcards.language:q} 2>&1 | keep {log:q}"


rule outside:
    output:
        "data/raw/outside.json",
    log:
        "logs/raw/outside.log",
    threads: 1
    params:
        hashes=spec("outside", lambda w: EXPERIMENT.outside),
    shell:
        "cp .snakemake/specs/{params.hashes:q}.json {output:q} 2> {log:q}"


rule corpus:
    input:
        "data/raw/{language}/manifest.json",
    output:
        "data/corpus/{language}/manifest.json",
    log:
        "logs/corpus/{language}.log",
    benchmark:
        "logs/corpus/{language}.tsv"
    threads: 8
    params:
        spec=spec("corpus", lambda w: EXPERIMENT.corpus(w.language)),
    shell:
        "palimpsest --label corpus/{wildcards.language:q} corpus --spec .snakemake/specs/{params.spec:q}.json --workers {threads} "
        "--raw data/raw/{wildcards.language:q} --out data/corpus/{wildcards.language:q} 2>&1 | keep {log:q}"


localrules:
    outside,
    raw_all,
    corpus_all,


rule raw_all:
    input:
        "data/raw/outside.json",
        each_language("data/raw/{language}/manifest.json"),


rule corpus_all:
    input:
        each_language("data/corpus/{language}/manifest.json"),
