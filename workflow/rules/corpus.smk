# Raw text, and the same text cleaned.


rule raw:
    output:
        "data/raw/{language}/manifest.json",
    log:
        "logs/raw/{language}.log",
    benchmark:
        "logs/raw/{language}.tsv"
    threads: 1
    params:
        spec=spec(lambda w: EXPERIMENT.raw(w.language)),
    shell:
        "palimpsest --label raw/{wildcards.language} raw --spec {params.spec:q} "
        "--out data/raw/{wildcards.language} 2>&1 | keep {log}"


rule outside:
    output:
        "data/raw/outside.json",
    log:
        "logs/raw/outside.log",
    threads: 1
    params:
        hashes=spec(lambda w: EXPERIMENT.outside),
    shell:
        "printf '%s\\n' {params.hashes:q} > {output} 2> {log}"


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
        spec=spec(lambda w: EXPERIMENT.corpus(w.language)),
    shell:
        "palimpsest --label corpus/{wildcards.language} corpus --spec {params.spec:q} --workers {threads} "
        "--raw data/raw/{wildcards.language} --out data/corpus/{wildcards.language} 2>&1 | keep {log}"


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
