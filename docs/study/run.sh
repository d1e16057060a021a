#!/usr/bin/env bash
# The study, piece by piece: PALIMPSEST_TEXT=… bash docs/study/run.sh FOLDER. A run that was stopped goes on where it was.
# FOLDER keeps data, checkpoints and reports; the tables and fits of each piece are copied to docs/study/{piece}/.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=${1:?a folder to work in} cores=${CORES:-all}
: "${PALIMPSEST_TEXT:?the folder that has train/train.{en,fr,de,ar,ja}.jsonl.zst}"
for piece in main mer rates constant five grid tasks; do
    # Five languages have a tokenizer of their own; the other pieces share data and whatever they train alike.
    place=$folder/$([ "$piece" = five ] && echo five || echo three)
    mkdir -p "$place"
    snakemake --configfile docs/study/base.yaml "docs/study/$piece.yaml" --directory "$place" --cores "$cores"
    mkdir -p "$folder/results/$piece" "docs/study/$piece"
    cp "$place"/results/{report.html,eval_all.json,sweep.json,scaling.json} "$folder/results/$piece/"
    cp "$place"/results/tables/{headline,ledger,data,sources,tasks}.csv "$place"/results/scaling.json "docs/study/$piece/"
    cp "$place"/results/plots/{loss_matrix,forgetting,alignment}.csv "docs/study/$piece/"
done
python docs/study/summary.py "$folder/results" > docs/study/summary.md
