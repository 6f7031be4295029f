#!/usr/bin/env bash
# Profiles Wyvern's kernels and training steps on one Hopper GPU. From the repository root, after build.sh:
#   [BIN=build/cuda/bin] [OUT=experiments/kernel_profiles/results] experiments/kernel_profiles/run.sh [PART ...]
# PART: delta, ops, step, energy (default: all four). The clocks are left as they are.
#   delta    hardware counters and times of the delta rules
#   ops      counters of attention, the head, grouped products and what is memory-bound
#   step     kernels of training steps, the power that they draw
#   energy   energy of each op in a loop
# KEEP: a folder for the profiler's reports and tables.
set -uo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
bin="${BIN:-build/cuda/bin}"
out="${OUT:-$here/results}"
ncu="${NCU:-$(command -v ncu || echo /usr/local/cuda/bin/ncu)}"
work="$(mktemp -d)"
trap '[ -z "${KEEP:-}" ] || cp -r "$work/." "$KEEP"; rm -rf "$work"' EXIT
mkdir -p "$out"
few=(--section SpeedOfLight --section LaunchStats --section Occupancy --section SchedulerStats --section WarpStateStats
  --section ComputeWorkloadAnalysis)
all=("${few[@]}" --section MemoryWorkloadAnalysis --section MemoryWorkloadAnalysis_Tables --section InstructionStats
  --section SourceCounters)
models=(delta_net_1.3b gated_deltanet_1.3b kda_1.3b transformer_1.3b)

# counters NAME SECTIONS CASE ...
counters() {
  local name="$1" sections="$2" set=("${few[@]}")
  shift 2
  [ "$sections" = few ] || set=("${all[@]}")
  "$ncu" --clock-control none --profile-from-start off -k "regex:${KERNELS:-.}" "${set[@]}" -f -o "$work/$name" \
    "$bin/profile_ops" profile "$@" >"$work/$name.log" 2>&1 || tail -n 5 "$work/$name.log"
  "$ncu" -i "$work/$name.ncu-rep" --page raw --csv --print-kernel-base mangled >"$work/$name.csv"
  python3 "$here/counters.py" "$work/$name.csv" "$work/$name.log" >"$out/$name.json"
  if [ "$sections" = lines ]; then
    "$ncu" -i "$work/$name.ncu-rep" --page source --csv --print-kernel-base mangled >"$work/$name.source.csv"
    python3 "$here/stalls.py" "$work/$name.source.csv" >"$out/$name.stalls.txt"
  fi
  echo "$name: $(grep -c '"kernel"' "$out/$name.json") kernels, $SECONDS s"
}

# traced NAME CASE ...: median time of each kernel while the op is called again and again.
traced() {
  local name="$1" each i=0 files=()
  shift
  for each in "$@"; do
    files+=("$each" "$work/$name.$((i += 1)).tsv")
    CUDA_INJECTION64_PATH="$bin/libtrace_kernels.so" TRACE_OUT="$work/$name.$i.tsv" \
      "$bin/profile_ops" time "$each" >/dev/null
  done
  python3 "$here/case_kernels.py" "${files[@]}" >"$out/$name.json"
  echo "$name: $SECONDS s"
}

delta() {
  local kind shape cases=() KERNELS='Prepare|Scan|Grad|Combine|Sum|Operands|Intra|State|Output|Prologue|Epilogue|Gate'
  for kind in delta gdn kda; do
    counters "${kind}_16x2048x16" lines "gated_delta_rule=$kind:16x2048x16"
    counters "${kind}_1x32768x16" all "gated_delta_rule=$kind:1x32768x16"
    for shape in 1x4096x16 4x8192x64 1x8192x96; do cases+=("gated_delta_rule=$kind:$shape"); done
  done
  counters delta_shapes few "${cases[@]}" gated_delta_rule=bounded:16x2048x16 gated_delta_rule=gdn:4x8192x30:96:192
  cases+=(gated_delta_rule=gdn:4x8192x30:96:192)
  for kind in delta gdn kda bounded; do
    for shape in 16x2048x16 1x32768x16; do cases+=("gated_delta_rule=$kind:$shape"); done
  done
  # Gates from almost none to a state that is forgotten at once.
  for shape in 16x2048x16 1x32768x16; do
    for step in -12 -2 5; do cases+=("gated_delta_rule=kda:$shape:128:128:$step"); done
  done
  "$bin/profile_ops" time "${cases[@]}" >"$out/delta_times.jsonl"
  traced delta_kernels "${cases[@]}"
}

ops() {
  counters attention all "attention=16 x 2048" "attention=1 x 32768" "attention=1 x 32768, window"
  counters head all "linear_cross_entropy=32768 x 2048" "linear_cross_entropy=163840 classes"
  counters grouped all "grouped_matmul=2304 to" "grouped_matmul=1024 to"
  counters streams all "matmul=2048 to 5632" "short_conv=3 x" "rms_norm=residual" "gated_rms_norm=" "swiglu="
}

step() {
  local model set
  : >"$out/step_power.jsonl"
  for model in "${models[@]}"; do
    set=(train.recompute=none)
    [ "$model" != transformer_1.3b ] || set+=(model.mixers.attention.num_heads=16)
    CUDA_INJECTION64_PATH="$bin/libtrace_kernels.so" TRACE_OUT="$work/$model.trace.tsv" \
      "$bin/wyvern" bench step "configs/$model.yaml" --sequences 8 --seq-len 2048 --steps 12 --warmup 3 --json \
      --set "${set[@]}" >"$work/$model.traced.json" || continue
    python3 "$here/step_kernels.py" "$work/$model.trace.tsv" >"$out/step_$model.json"
    python3 "$here/power.py" "$work/$model.power.tsv" -- "$bin/wyvern" bench step "configs/$model.yaml" --sequences 8 \
      --seq-len 2048 --steps "${POWER_STEPS:-24}" --warmup 3 --json --set "${set[@]}" >"$work/$model.json"
    python3 "$here/power.py" --summary "$work/$model.power.tsv" "$work/$model.json" | tee -a "$out/step_power.jsonl"
    echo "$model: $SECONDS s"
  done
}

energy() {
  "$bin/profile_ops" energy "${ENERGY_SECONDS:-1}" copy "matmul=2048 to 2048" "matmul=2048 to 5632" \
    "matmul=5632 to 2048" "gated_delta_rule=delta:16x2048x16" "gated_delta_rule=gdn:16x2048x16" \
    "gated_delta_rule=kda:16x2048x16" "attention=16 x 2048" "short_conv=3 x" "rms_norm=residual" "gated_rms_norm=" \
    "swiglu=" "linear_cross_entropy=32768 x 2048" >"$out/energy.jsonl"
}

[ $# -gt 0 ] || set -- delta ops step energy
for part in "$@"; do
  case "$part" in
    delta | ops | step | energy) "$part" ;;
    *) echo "unknown part $part: delta, ops, step or energy" >&2; exit 2 ;;
  esac
done
