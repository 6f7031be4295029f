#!/usr/bin/env bash
# Training steps of four full-size layers of the 48B model (four_layers.yaml), predicted and measured.
# From the repository root:
#   WYVERN=build/cuda/bin/wyvern [GPU=h200-141g] [RANKS="1 2"] [SETTINGS="muon_8x8 ..."] \
#     experiments/kimi_linear/four.sh OUTPUT_FOLDER
# A setting is OPTIMIZER_SEQUENCESxMICROBATCHES[_kept]: sequences of 4,096 tokens in a forward, and
# forwards in a step of each GPU; every block is computed again in backward unless `kept`. On two GPUs
# the experts are divided between them and the rest is sharded at level 2. CONFIG, SEQ and SET make it
# small enough for a CPU.
set -uo pipefail
out="$1"
wyvern="${WYVERN:-build/cuda/bin/wyvern}"
here=experiments/kimi_linear
config="${CONFIG:-$here/four_layers.yaml}"
seq="${SEQ:-4096}"
mkdir -p "$out"
for ranks in ${RANKS:-1}; do
  for setting in ${SETTINGS:-muon_8x8 muon_8x1 adamw_8x1 muon_4x16_kept}; do
    IFS=_ read -r optimizer shape kept <<<"$setting"
    sequences="${shape%x*}" micro="${shape#*x}" name="$setting.$ranks"
    sets=(data.seq_len="$seq" train.micro_batch="$sequences"
      train.batch_tokens=$((ranks * sequences * micro * seq)) optimizer.type="$optimizer" ${SET:-})
    [ "$optimizer" = adamw ] && sets+=(optimizer.qk_clip=null)
    [ "$kept" = kept ] && sets+=(train.recompute_blocks=0)
    start=()
    if [ "$ranks" -gt 1 ]; then
      sets+=(parallel.shard="$ranks" parallel.expert="$ranks" parallel.zero=2)
      start=(tests/ranks/start "$ranks")
    fi
    "$wyvern" plan "$config" --gpus "$ranks" --gpu "${GPU:-h200-141g}" --set "${sets[@]}" \
      >"$out/$name.plan.txt" 2>&1
    timeout "${LIMIT:-100}" "${start[@]}" "$wyvern" bench step "$config" --json --sequences "$sequences" \
      --seq-len "$seq" --micro-batches "$micro" --steps "${STEPS:-3}" --warmup "${WARMUP:-2}" \
      --set "${sets[@]}" >"$out/$name.json" 2>"$out/$name.err" ||
      echo "$name ended with code $?: $(tail -1 "$out/$name.err")"
  done
done
python3 $here/four.py "$out"
