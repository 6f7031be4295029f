#!/usr/bin/env bash
# Training-step rate of each 1.3B model at 8 x 2048 tokens on one GPU: median of 20 steps.
#   WYVERN=build/cuda/bin/wyvern STORE=DIR experiments/first_light/steps.sh [CONFIG ...]
# STORE holds a train.h5 of at least 400,000 tokens of a vocabulary of at most 32,000.
set -uo pipefail
wyvern="${WYVERN:-build/cuda/bin/wyvern}"
work="$(mktemp -d)"
printf '%-22s %10s %12s %7s %10s\n' model step_ms tokens_per_s mfu peak_GiB
for name in "${@:-delta_net_1.3b gated_deltanet_1.3b kda_1.3b transformer_1.3b}"; do
  for config in $name; do
    "$wyvern" train "configs/$config.yaml" --set run.dir="$work/$config" run.device=cuda \
      data.sources.0.dir="$STORE" data.seq_len=2048 train.tokens=null train.steps=25 \
      train.batch_tokens=16384 train.micro_batch=8 schedule.warmup_tokens=null \
      schedule.warmup_steps=5 validation.every=0 validation.batches=null checkpoint.every=0 \
      generate=null >"$work/$config.txt" 2>&1 || tail -3 "$work/$config.txt"
    python3 - "$work/$config/metrics.jsonl" "$config" <<'P'
import json, statistics, sys
rows = [json.loads(line) for line in open(sys.argv[1])][5:]
ms = statistics.median(r["step_ms"] for r in rows)
rate = statistics.median(r["tokens_per_s"] for r in rows)
print(f"{sys.argv[2]:22s} {ms:10.1f} {rate:12.0f} {statistics.median(r['mfu'] for r in rows):7.3f}"
      f" {max(r['peak_bytes'] for r in rows) / 2**30:10.1f}")
P
    rm -rf "${work:?}/$config"
  done
done
rm -rf "$work"
