#!/usr/bin/env bash
# Trains the ladder, fits the laws, and copies what is committed into results/.
#   WYVERN=build/cuda/bin/wyvern experiments/scaling_laws/run.sh [SWEEP.yaml] [OPTIONS OF wyvern sweep]
# Run from the repository root; default: experiments/scaling_laws/ladder.yaml. Started again, it goes
# on where it was stopped. OUT names another folder for the results.
set -euo pipefail
wyvern="${WYVERN:-build/cuda/bin/wyvern}"
here=experiments/scaling_laws
sweep="$here/ladder.yaml"
if [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; then
  sweep="$1"
  shift
fi
out="${OUT:-$here/results}"
dir="runs/$(sed -n 's/^name: //p' "$sweep")"
mkdir -p "$out"
tokenizer=runs/data/source/tokenizer.model
if [ "$sweep" = "$here/ladder.yaml" ]; then
  "$here/prepare.py"
  # Some megabytes of the text are enough for 8,192 tokens; all of it would take longer than the ladder.
  if [ ! -e "$tokenizer" ]; then
    mkdir -p "$(dirname "$tokenizer")"
    "$wyvern" data tokenizer --input runs/data/source.jsonl --output "$tokenizer" --vocab-size 8192 \
      --sample-bytes 6000000
  fi
fi
"$wyvern" sweep "$sweep" --dry-run
"$wyvern" sweep "$sweep" "$@"
"$wyvern" sweep "$sweep" --status >"$out/runs.txt"
"$wyvern" fit "$dir" | tee "$out/fit.txt"
cp "$dir/fit.json" "$dir/report.html" "$dir/sweep.json" "$out/"
