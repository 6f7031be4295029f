#!/usr/bin/env bash
# Trains the 340M model on every Python source of this machine, kills it on the way and resumes it.
#   WYVERN=build/cuda/bin/wyvern [TOKENIZER=FILE.model] experiments/first_light/run_340m.sh
set -uo pipefail
wyvern="${WYVERN:-build/cuda/bin/wyvern}"
config=experiments/first_light/delta_net_340m_code.yaml
mkdir -p runs/data/code runs/data/code_text
if [ -z "$(ls -A runs/data/code_text)" ]; then
  find / -xdev -name '*.py' -size +1k -size -300k -not -path '*/runs/*' 2>/dev/null |
    head -n "${FILES:-30000}" | awk '{print NR, $0}' |
    while read -r number path; do cp "$path" "runs/data/code_text/$number.txt"; done
fi
[ -n "${TOKENIZER:-}" ] && cp "$TOKENIZER" runs/data/code/tokenizer.model
"$wyvern" train $config &
pid=$!
while [ ! -d runs/delta_net_340m_code/checkpoints/step_00000100 ] && kill -0 $pid 2>/dev/null; do
  sleep 0.2
done
kill -9 $pid
wait $pid 2>/dev/null
echo "== killed with SIGKILL; the same command again"
exec "$wyvern" train $config
