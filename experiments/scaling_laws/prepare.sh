#!/usr/bin/env bash
# Gathers the Python sources of this machine, each content once, as the text of the ladder.
#   [FILES=40000] experiments/scaling_laws/prepare.sh
# Run from the repository root. Files of 1 to 300 kB, into runs/data/python_text/.
set -euo pipefail
text=runs/data/python_text
[ -d "$text" ] && exit 0
rm -rf "$text.new"
mkdir -p "$text.new"
# Packages are installed many times over; a document that is both learned from and held out would
# make the validation loss a memory test.
{
  find / -xdev -name '*.py' -size +1k -size -300k -not -path '*/runs/*' -print0 2>/dev/null |
    xargs -0 -r md5sum 2>/dev/null || true # some cannot be read
} | sort -k1,1 -u | awk -v files="${FILES:-40000}" 'NR <= files' |
  while read -r sum path; do cp "$path" "$text.new/$sum.txt"; done
mv "$text.new" "$text"
echo "$text: $(find "$text" -name '*.txt' | wc -l) files, $(du -sh "$text" | cut -f1)"
