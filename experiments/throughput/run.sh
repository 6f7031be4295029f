#!/usr/bin/env bash
# Times training steps on one GPU. Run from the repository root:
#   [WYVERN=build/cuda/bin/wyvern] [OUT=experiments/throughput/results] experiments/throughput/run.sh [PART ...]
# PART: models, lengths, recompute (default: all three). Each writes OUT/PART.jsonl anew, one line a
# configuration; one that fails, for want of memory say, gives a line with `error`.
#   STEPS, WARMUP    measured and earlier steps (10, 3)
#   SHAPE            sequences x length of `models` and `recompute` (8x2048)
#   MODELS           of `models`: files of configs/, each as NAME[:KEY=VALUE,...]
#   CURVES, SHAPES   of `lengths`: models likewise, and sequences x length
#   SETTINGS         of `recompute`: KEY=VALUE,... each, for the models RECOMPUTED
set -uo pipefail
wyvern="${WYVERN:-build/cuda/bin/wyvern}"
out="${OUT:-experiments/throughput/results}"
# The recipe's Transformer has 32 heads of 64; the peers' Llama, like the delta models, 16 of 128.
transformer=transformer_1.3b:model.mixers.attention.num_heads=16
shape="${SHAPE:-8x2048}"
models="${MODELS:-delta_net_1.3b gated_deltanet_1.3b kda_1.3b $transformer delta_net_340m}"
curves="${CURVES:-delta_net_1.3b kda_1.3b $transformer}"
shapes="${SHAPES:-8x2048 4x4096 2x8192 1x16384 1x32768}"
recomputed="${RECOMPUTED:-delta_net_1.3b}"
settings="${SETTINGS:-train.recompute=none train.recompute=fused train.recompute=elementwise train.recompute=projections train.recompute_blocks=8 train.recompute_blocks=16 train.recompute_blocks=24}"
mkdir -p "$out"
log="$(mktemp)"
trap 'rm -f "$log"' EXIT

# measure PART NAME[:KEY=VALUE,...] SEQUENCESxLENGTH [KEY=VALUE,...]
measure() {
  local part="$1" model="${2%%:*}" sequences="${3%x*}" length="${3#*x}" keys=() set=()
  [ "$model" = "$2" ] || IFS=, read -ra keys <<<"${2#*:}"
  [ -z "${4:-}" ] || IFS=, read -ra set <<<"$4"
  set -- "${keys[@]}" "${set[@]}"
  set=()
  [ $# -eq 0 ] || set=(--set "$@")
  "$wyvern" bench step "configs/$model.yaml" --sequences "$sequences" --seq-len "$length" \
    --steps "${STEPS:-10}" --warmup "${WARMUP:-3}" --json "${set[@]}" >"$log" 2>"$log.err" ||
    python3 - "$model" "$sequences" "$length" "$log.err" "$@" <<'P' >"$log"
import json, sys
model, sequences, length, log, *settings = sys.argv[1:]
print(json.dumps({"framework": "wyvern", "model": model, "sequences": int(sequences),
                  "seq_len": int(length), "set": settings, "error": open(log).read()[-300:].strip()}))
P
  cat "$log" >>"$out/$part.jsonl"
  python3 experiments/throughput/table.py --no-header "$log"
  rm -f "$log.err"
}

[ $# -gt 0 ] || set -- models lengths recompute
for part in "$@"; do
  case "$part" in
    models | lengths | recompute) : >"$out/$part.jsonl" ;;
    *) echo "unknown part $part: models, lengths or recompute" >&2; exit 2 ;;
  esac
  case "$part" in
    models) for model in $models; do measure models "$model" "$shape"; done ;;
    lengths)
      for model in $curves; do
        for each in $shapes; do measure lengths "$model" "$each"; done
      done
      ;;
    recompute)
      for model in $recomputed; do
        for setting in $settings; do measure recompute "$model" "$shape" "$setting"; done
      done
      ;;
  esac
done
