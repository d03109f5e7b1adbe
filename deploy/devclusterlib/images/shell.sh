#!/bin/sh
# An image with bash, for batch scripts; its own program says so.
echo "bring a script"
