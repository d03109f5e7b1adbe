#!/bin/sh
# fail CODE [NAME]: exits with CODE; with NAME only where an input file of that name is there, else copies its inputs.
code=${1:-1} name=${2:-}
if [ -z "$name" ] || [ -e "/input_files/$name" ]; then
  echo "fail: exiting with $code" >&2
  exit "$code"
fi
cp -r /input_files/. /output_files/
