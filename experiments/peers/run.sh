#!/usr/bin/env bash
# Times Wyvern's ops and steps and the peers' on one GPU in one run. From the repository root:
#   [WYVERN=build/cuda/bin/wyvern] [PYTHON=python3] [OUT=experiments/peers/results] \
#     experiments/peers/run.sh [ops] [steps]
# Writes OUT/{wyvern_ops,ops,wyvern_steps,steps}.jsonl and OUT/{ops,steps}.md.
set -uo pipefail
wyvern="${WYVERN:-build/cuda/bin/wyvern}"
python="${PYTHON:-python3}"
out="${OUT:-experiments/peers/results}"
mkdir -p "$out"
export TRITON_CACHE_AUTOTUNING=1
[ $# -gt 0 ] || set -- ops steps
for part in "$@"; do
  case "$part" in
    ops)
      "$wyvern" bench ops --device cuda --json >"$out/wyvern_ops.jsonl"
      "$python" experiments/peers/ops.py >"$out/ops.jsonl"
      "$python" experiments/peers/compare.py "$out/wyvern_ops.jsonl" "$out/ops.jsonl" |
        tee "$out/ops.md"
      ;;
    steps)
      OUT="$out/wyvern" experiments/throughput/run.sh models
      mv "$out/wyvern/models.jsonl" "$out/wyvern_steps.jsonl" && rmdir "$out/wyvern"
      # shellcheck disable=SC2086
      "$python" experiments/peers/train.py ${MODELS_OF_PEERS:-delta_net:8x2048:eager \
        delta_net:8x2048:compile gated_deltanet:8x2048:eager kda:8x2048:eager \
        llama:8x2048:eager llama:8x2048:compile} >"$out/steps.jsonl"
      "$python" experiments/throughput/table.py "$out/wyvern_steps.jsonl" "$out/steps.jsonl" |
        tee "$out/steps.md"
      ;;
    *) echo "unknown part $part: ops or steps" >&2; exit 2 ;;
  esac
done
