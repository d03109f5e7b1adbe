#!/bin/sh
# An image that has this program but no entrypoint.
echo "no entrypoint"
