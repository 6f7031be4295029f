#!/usr/bin/env bash
# Builds profile_ops and libtrace_kernels.so beside the programs of a CUDA build. From the repository root:
#   experiments/kernel_profiles/build.sh [build/cuda]
# The build must have made `wyvern`: its libraries and link command are used.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
build="${1:-build/cuda}"
root="$PWD"
cuda="${CUDA_HOME:-/usr/local/cuda}"
g++ -std=c++20 -O2 -Wall -Wextra -Wno-missing-field-initializers -DWYVERN_CUDA=1 -I"$root" \
  -isystem "$cuda/include" -c "$here/profile_ops.cc" -o "$build/profile_ops.o"
link="$(ninja -C "$build" -t commands wyvern | tail -n 1)"
link="${link/trainer\/CMakeFiles\/wyvern.dir\/main.cc.o -o bin\/wyvern/profile_ops.o -o bin\/profile_ops}"
(cd "$build" && bash -c "$link")
cupti="$(dirname "$(find -L "$cuda/include" "$cuda/extras" -name cupti.h 2>/dev/null | head -n 1)")"
g++ -std=c++20 -O2 -Wall -shared -fPIC -isystem "$cuda/include" -isystem "$cupti" "$here/trace_kernels.cc" \
  -o "$build/bin/libtrace_kernels.so" -L"$cuda/lib" -L"$cuda/lib64" -L"$cuda/extras/CUPTI/lib64" -lcupti
