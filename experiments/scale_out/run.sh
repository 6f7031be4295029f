#!/usr/bin/env bash
# Steps of DeltaNet-1.3B on one GPU and on two of one host, from the repository's root.
#   WYVERN=build/cuda/bin/wyvern experiments/scale_out/run.sh OUTPUT_FOLDER
set -euo pipefail
out="$1"
wyvern="${WYVERN:-build/cuda/bin/wyvern}"
mkdir -p "$out"
bench="bench step configs/delta_net_1.3b.yaml --sequences 8 --seq-len 2048 --steps 10 --warmup 3"
$wyvern $bench >"$out/one.txt"
tests/ranks/start 2 $wyvern $bench >"$out/rep.txt"
for level in 1 2 3; do
  tests/ranks/start 2 $wyvern $bench --set parallel.shard=2 parallel.zero=$level >"$out/z$level.txt"
done
long="bench step configs/delta_net_1.3b.yaml --sequences 1 --seq-len 65536 --steps 4 --warmup 1"
long="$long --set train.recompute=elementwise"
$wyvern $long >"$out/long_one.txt"
tests/ranks/start 2 $wyvern $long parallel.replicate=1 parallel.context=2 >"$out/long_context.txt"
grep -E "^(step  |tokens/s|peak)" "$out"/*.txt
