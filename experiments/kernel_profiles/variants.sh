#!/usr/bin/env bash
# Times the delta rules with other tile widths, segments and combinations of segments (variants.patch). From the root of a
# checkout to which the patch was applied, built, and with build.sh run:
#   [BIN=build/cuda/bin] experiments/kernel_profiles/variants.sh
# KP_GROUPS    value columns of a block of a scan, in 64s       KP_SPAN     chunks of a segment
# KP_COLUMNS   value columns of a block that combines segments (32)   KP_AHEAD    set: it loads ahead of its use
set -uo pipefail
bin="${BIN:-build/cuda/bin}"
one() {
  local each shape="$1" names=()
  shift
  for each in delta gdn kda; do names+=("gated_delta_rule=$each:$shape"); done
  echo "## $*"
  env "$@" "$bin/profile_ops" time "${names[@]}" | python3 -c '
import json, sys
for row in map(json.loads, sys.stdin):
    print("%-22s %-8s %.4f" % (row["case"], row["direction"], row["ms"]))'
}
wide=(KP_COLUMNS=8 KP_AHEAD=1)
for each in KP_COLUMNS=32 KP_COLUMNS=8 "KP_COLUMNS=16 KP_AHEAD=1" "${wide[*]}"; do
  echo "# $each"
  env $each "$bin/profile_ops" check gated_delta_rule=delta:1x4096x16 gated_delta_rule=gdn:1x4096x16
done
one 1x4096x16 X=0
one 1x4096x16 KP_COLUMNS=16
one 1x4096x16 KP_COLUMNS=8
one 1x4096x16 KP_AHEAD=1
one 1x4096x16 KP_COLUMNS=16 KP_AHEAD=1
one 1x4096x16 "${wide[@]}"
for chunks in 8 11 22; do one 1x4096x16 "${wide[@]}" KP_SPAN=$chunks; done
one 1x32768x16 X=0
one 1x32768x16 "${wide[@]}"
for chunks in 128 64 32 171; do one 1x32768x16 "${wide[@]}" KP_SPAN=$chunks; done
one 1x8192x96 X=0
for groups in 2 1; do one 1x8192x96 KP_GROUPS=$groups; done
one 16x2048x16 X=0
one 16x2048x16 KP_GROUPS=1
