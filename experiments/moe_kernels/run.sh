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
{
  for op in moe_route moe_permute grouped_matmul moe_combine moe_balance; do
    "$build/bin/wyvern" bench ops --op "$op"
  done
  for rows in even one; do "$build/bin/wyvern" bench ops --op grouped_matmul --shape "rows=$rows"; done
  "$build/bin/wyvern" bench ops --op matmul --shape tokens=131072,dim_in=2304,dim_out=2048
} | tee "$out/rates.txt"
