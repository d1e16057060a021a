# One tokenizer for all languages, and every language as token shards.


rule tokenizer:
    input:
        each_language("data/corpus/{language}/manifest.json"),
    output:
        "data/tokenizer/manifest.json",
    log:
        "logs/tokenizer.log",
    benchmark:
        "logs/tokenizer.tsv"
    threads: 8
    params:
        spec=spec("tokenizer", lambda w: EXPERIMENT.tokenizer),
        corpora=each_language("data/corpus/{language}"),
    shell:
        "RAYON_NUM_THREADS={threads} palimpsest --label tokenizer tokenizer --spec .snakemake/specs/{params.spec:q}.json "
        "--corpora {params.corpora:q} --out data/tokenizer 2>&1 | keep {log:q}"


rule tokens:
    input:
        corpus="data/corpus/{language}/manifest.json",
        tokenizer="data/tokenizer/manifest.json",
    output:
        "data/tokens/{language}/manifest.json",
    log:
        "logs/tokens/{language}.log",
    benchmark:
        "logs/tokens/{language}.tsv"
    threads: 8
    params:
        spec=spec("tokens", lambda w: EXPERIMENT.tokens(w.language)),
    shell:
        "palimpsest --label tokens/{wildcards.language:q} tokens --spec .snakemake/specs/{params.spec:q}.json --workers {threads} "
        "--corpus data/corpus/{wildcards.language:q} --tokenizer data/tokenizer "
        "--out data/tokens/{wildcards.language:q} 2>&1 | keep {log:q}"


localrules:
    tokens_all,


rule tokens_all:
    input:
        each_language("data/tokens/{language}/manifest.json"),
