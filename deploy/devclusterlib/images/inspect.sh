#!/bin/sh
# Lists what a container can reach: files, mounts, processes, variables, identity.
{
  echo "== id"; id
  echo "== variables"; env
  echo "== mounts"; cat /proc/self/mounts
  echo "== processes"; ps -o pid,user,args
  echo "== files"; find / -path /proc -prune -o -path /sys -prune -o -path /bin -prune -o -print
} > /output_files/inspect.txt 2>&1
