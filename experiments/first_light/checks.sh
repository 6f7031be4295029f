#!/usr/bin/env bash
# Every op and every reference model on the GPU, and a run that is killed and resumed.
#   WYVERN=build/cuda/bin/wyvern GOLDEN=../shared/golden OUT=DIR experiments/first_light/checks.sh
# Run from the repository root. Prints one line per check; full tables and their summaries go to OUT.
set -uo pipefail
wyvern="${WYVERN:-build/cuda/bin/wyvern}"
out="${OUT:-/tmp/first_light}"
mkdir -p "$out"
failed=0

"$wyvern" selftest --device cuda >"$out/selftest.txt" 2>&1 || failed=1
echo "selftest: $(grep -c PASS "$out/selftest.txt") passed, $(grep -c FAIL "$out/selftest.txt") failed"
grep FAIL "$out/selftest.txt"
experiments/first_light/summarize.py selftest <"$out/selftest.txt" >"$out/selftest_summary.txt"

: >"$out/parity.txt"
for folder in "${GOLDEN:-../shared/golden}"/hf/* tests/trainer/hf/reference/*/; do
  case "$folder" in *kimi_linear* | *'*'*) continue ;; esac
  [ -f "$folder/reference.safetensors" ] || continue
  for dtype in fp32 bf16; do
    if "$wyvern" parity "$folder" --device cuda --dtype $dtype >"$out/one.txt" 2>&1; then
      verdict=pass
    else
      verdict=FAIL
      failed=1
      grep FAIL "$out/one.txt"
    fi
    cat "$out/one.txt" >>"$out/parity.txt"
    echo "parity $(basename "$folder") $dtype: $verdict," \
      "logits $(awk '$1 == "logits" {print $2}' "$out/one.txt")," \
      "worst gradient $(awk '/^grad/ {print $2}' "$out/one.txt" | sort -g | tail -1)"
  done
done
rm -f "$out/one.txt"
experiments/first_light/summarize.py parity <"$out/parity.txt" >"$out/parity_summary.txt"

# 60 steps at once, against 60 steps killed with SIGKILL after the checkpoint of step 20.
work="$(mktemp -d)"
train() {
  "$wyvern" train configs/quickstart.yaml --set run.device=cuda train.steps=60 checkpoint.every=10 \
    checkpoint.keep=10 validation.every=30 run.dir="$work/$1" >"$work/$1.txt" 2>&1
}
train whole || failed=1
train cut &
pid=$!
while [ ! -d "$work/cut/checkpoints/step_00000020" ] && kill -0 $pid 2>/dev/null; do sleep 0.05; done
pkill -9 -P $pid
kill -9 $pid 2>/dev/null
wait $pid 2>/dev/null
killed_at="$(tail -1 "$work/cut/metrics.jsonl" | sed 's/.*"step":\([0-9]*\).*/\1/')"
train cut || failed=1
losses() { sed 's/.*"step":\([0-9]*\).*"loss":\([^,]*\),.*/\1 \2/' "$work/$1/metrics.jsonl"; }
if [ "$(losses whole)" = "$(losses cut)" ] && [ "$(losses cut | wc -l)" -ge 60 ]; then
  echo "resume: killed at step $killed_at, $(losses cut | wc -l) losses equal to the last digit"
else
  echo "resume: losses differ: FAIL"
  diff <(losses whole) <(losses cut) | head -5
  failed=1
fi
for shard in "$work"/whole/checkpoints/step_00000060/*.h5; do
  if cmp -s "$shard" "$work/cut/checkpoints/step_00000060/$(basename "$shard")"; then
    echo "resume: $(basename "$shard") of the last checkpoint is byte-identical"
  else
    echo "resume: $(basename "$shard") differs: FAIL"
    failed=1
  fi
done
rm -rf "$work"
exit $failed
