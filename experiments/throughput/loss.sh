#!/usr/bin/env bash
# Trains the same configuration, seed and data with two programs, and with the first one in fp32 for
# scale. Run from the repository root on a machine with a GPU:
#   BEFORE=PROGRAM AFTER=PROGRAM [OUT=experiments/throughput/results] \
#     experiments/throughput/loss.sh [CONFIG] [key=value ...]
# CONFIG defaults to experiments/throughput/loss.yaml; key=value overrides it (train.steps=50).
# Writes OUT/loss_{before,after,before_fp32}.jsonl and OUT/loss.svg. Exit code 1: the two differ by
# more than twice what bf16 differs from fp32.
set -uo pipefail
out="${OUT:-experiments/throughput/results}"
config="experiments/throughput/loss.yaml"
case "${1:-}" in *.yaml | *.yml) config="$1" && shift ;; esac
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"

# train NAME PROGRAM PRECISION [KEY=VALUE ...]
train() {
  local name="$1" program="$2" precision="$3"
  shift 3
  "$program" train "$config" --set run.device="${DEVICE:-cuda}" run.precision="$precision" \
    run.dir="$work/$name" "$@" >"$work/$name.txt" 2>&1 || { tail -5 "$work/$name.txt" && exit 1; }
  cp "$work/$name/metrics.jsonl" "$out/loss_$name.jsonl"
  rm -rf "${work:?}/$name"
}
train before "${BEFORE:?the program before the change}" "${PRECISION:-bf16}" "$@"
train after "${AFTER:?the program after the change}" "${PRECISION:-bf16}" "$@"
train before_fp32 "$BEFORE" fp32 "$@"
exec python3 experiments/throughput/compare_losses.py "$out"
