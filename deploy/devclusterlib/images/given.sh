#!/bin/sh
# Writes what it was given as JSON to given.json in the directory $OUT (by default /output_files): its arguments, its
# environment, and each file below $IN (/input_files) with its mode and, where it is small, its text.
in=${IN:-/input_files} out=${OUT:-/output_files}
text() {
  printf '"'
  printf '%s.' "$1" | sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/	/\\t/g' | awk 'NR > 1 { printf "\\n" } { printf "%s", $0 }' | sed 's/\.$//'
  printf '"'
}
{
  printf '{"argv": ['
  sep=
  for arg in "$@"; do printf '%s' "$sep"; text "$arg"; sep=', '; done
  printf '], "environment": {'
  sep=
  env | while IFS= read -r line; do
    printf '%s' "$sep"; text "${line%%=*}"; printf ': '; text "${line#*=}"; sep=', '
  done
  printf '}, "files": {'
  sep=
  find "$in" -type f | sort | while IFS= read -r file; do
    printf '%s' "$sep"; text "$file"; printf ': {"mode": "%s", "text": ' "$(stat -c %a "$file")"
    content=$(head -c 4000 "$file"; echo .)
    text "${content%.}"; printf '}'; sep=', '
  done
  printf '}}\n'
} > "$out/${NAME:-given}.json"
