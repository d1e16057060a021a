#!/usr/bin/env bash
# The study, part by part: PALIMPSEST_TEXT=… bash docs/study/run.sh FOLDER. An interrupted run resumes.
# FOLDER has the data, checkpoints and reports; the tables and fits of each part are copied to docs/study/{part}/.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=${1:?a folder to work in} cores=${CORES:-all}
: "${PALIMPSEST_TEXT:?the folder that has train/train.{en,fr,de,ar,ja}.jsonl.zst}"
for part in main mer rates constant five grid tasks; do
    # Five languages have their own tokenizer; the other parts share data and every common checkpoint.
    work=$folder/$([ "$part" = five ] && echo five || echo three)
    mkdir -p "$work"
    snakemake --configfile docs/study/base.yaml "docs/study/$part.yaml" --directory "$work" --cores "$cores"
    mkdir -p "$folder/results/$part" "docs/study/$part"
    cp "$work"/results/{report.html,eval_all.json,sweep.json,scaling.json} "$folder/results/$part/"
    cp "$work"/results/tables/{headline,ledger,data,sources,tasks}.csv "$work"/results/scaling.json "docs/study/$part/"
    cp "$work"/results/plots/{loss_matrix,forgetting,alignment}.csv "docs/study/$part/"
done
python docs/study/summary.py "$folder/results" > docs/study/summary.md
