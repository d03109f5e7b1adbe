#!/bin/sh
# Copies every input to the outputs and writes their MD5 sums beside them.
set -eu
in=${INPUT_DIR:-/input_files} out=${OUTPUT_DIR:-/output_files}
cd "$in"
find . -type f | sort > /tmp/names
[ "${QUIET:-}" ] || echo "checksum: $(wc -l < /tmp/names) files"
tag=$(md5sum < /tmp/names | cut -c1-8)
while IFS= read -r name; do
  mkdir -p "$out/${name%/*}"
  cp "$name" "$out/$name"
  md5sum "$name"
done < /tmp/names > "$out/checksums-$tag.txt"
