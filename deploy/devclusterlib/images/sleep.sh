#!/bin/sh
# sleep SECONDS: sleeps, then copies its inputs.
echo "sleeping ${1:-10} s"
/bin/busybox sleep "${1:-10}"
cp -r /input_files/. /output_files/
echo awake
