#!/usr/bin/env bash
# Checks the kernels of mixture of experts on one GPU, then times them. Run from the repository root:
#   [BUILD=build/cuda] [OUT=experiments/moe_kernels/results] experiments/moe_kernels/run.sh
# Writes OUT/rates.txt. Ends with an error if a check fails, and then times nothing.
set -euo pipefail
build="${BUILD:-build/cuda}"
out="${OUT:-experiments/moe_kernels/results}"
mkdir -p "$out"
"$build/bin/kernels_tests" --gtest_filter='MoeKernels.*' --gtest_brief=1
for op in moe_route moe_permute grouped_matmul moe_combine moe_balance; do
  "$build/bin/wyvern" selftest --op "$op"
done
for tests in kernels_tests layers_tests; do
  "$build/bin/$tests" --gtest_also_run_disabled_tests --gtest_filter='MoeRates.*' |
    grep -v '^\[\|^Note\|^YOU\|^ *$\|^Running'
done | tee "$out/rates.txt"
