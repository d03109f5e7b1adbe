#!/bin/sh
# Prints its arguments and its environment as JSON, and keeps the same in argv-<first input>.json.
text() {
  printf '"'
  printf '%s' "$1" | sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/	/\\t/g' | awk 'NR > 1 { printf "\\n" } { printf "%s", $0 }'
  printf '"'
}
report() {
  printf '{"argv": ['
  sep=
  for arg in "$@"; do printf '%s' "$sep"; text "$arg"; sep=', '; done
  printf '], "environment": {'
  sep=
  env | while IFS= read -r line; do
    printf '%s' "$sep"; text "${line%%=*}"; printf ': '; text "${line#*=}"; sep=', '
  done
  printf '}, "files": ['
  sep=
  for file in /input_files/*; do printf '%s' "$sep"; text "$file"; sep=', '; done
  printf ']}\n'
}
first=$(ls /input_files | head -n 1 | md5sum | cut -c1-8)
report "$@" | tee "/output_files/argv-$first.json"
