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
        spec=spec(lambda w: recipe.tokenizer(EXPERIMENT.params)),
        corpora=each_language("data/corpus/{language}"),
    shell:
        "RAYON_NUM_THREADS={threads} palimpsest --label tokenizer tokenizer --spec {params.spec:q} "
        "--corpora {params.corpora:q} --out data/tokenizer 2>&1 | keep {log}"


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
        spec=spec(lambda w: recipe.tokens(EXPERIMENT.params, w.language)),
    shell:
        "palimpsest --label tokens/{wildcards.language} tokens --spec {params.spec:q} --workers {threads} "
        "--corpus data/corpus/{wildcards.language} --tokenizer data/tokenizer "
        "--out data/tokens/{wildcards.language} 2>&1 | keep {log}"


localrules:
    tokens_all,


rule tokens_all:
    input:
        each_language("data/tokens/{language}/manifest.json"),
