#!/usr/bin/env bash
# Decoding and reading of prompts by the 27 mixers of the 48B model (mixers.yaml) over the length of
# the context: KDA and latent attention 3:1 against latent attention alone. From the repository root:
#   WYVERN=build/cuda/bin/wyvern [CONTEXTS="4096 ..."] [PREFILL="4096 ..."] [PREFILL_SECONDS=60] \
#     experiments/kimi_linear/context.sh OUTPUT_FOLDER
# Decoding starts from a cache of random numbers, at every length. Prompts are read in one forward, up
# to the length that is expected to take PREFILL_SECONDS: latent attention alone needs 3e17 FLOPs for
# a million tokens, ten minutes of one GPU.
set -uo pipefail
out="$1"
wyvern="${WYVERN:-build/cuda/bin/wyvern}"
here=experiments/kimi_linear
mkdir -p "$out"
# bench NAME ARGUMENTS: rows of both models, each with its layout's name.
bench() {
  local name="$1" layout
  shift
  : >"$out/$name.jsonl"
  for layout in kda_3_1 mla; do
    local sets=(run.name="$layout")
    if [ "$layout" = mla ]; then
      sets+=(model.mixers.kda=null 'model.pattern=[mla]' model.at=null)
    fi
    timeout "${LIMIT:-170}" "$wyvern" bench decode "${CONFIG:-$here/mixers.yaml}" --json "$@" --set "${sets[@]}" \
      2>"$out/$name.$layout.err" >>"$out/$name.jsonl" ||
      echo "$name of $layout ended with code $?: $(tail -1 "$out/$name.$layout.err")"
  done
}
bench decode --tokens "${TOKENS:-24}" --context ${CONTEXTS:-4096 16384 65536 262144 1048576}
bench prefill --tokens 4 --prefill --prefill-seconds "${PREFILL_SECONDS:-60}" \
  --context ${PREFILL:-4096 16384 65536 262144}
python3 $here/context.py "$out"
