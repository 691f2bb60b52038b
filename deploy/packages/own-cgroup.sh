#!/bin/sh
# Runs a command in a control group of its own: own-cgroup.sh NAME COMMAND...
#
# Two containers that one group holds would have one /system.slice between them, and the systemd of one
# would stop the other's services.
set -eu
name=$1
shift
for tree in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
  [ -e "$tree/cgroup.procs" ] || continue
  mkdir -p "$tree/$name"
  echo $$ >"$tree/$name/cgroup.procs"
done
exec "$@"
