#!/bin/bash
# Walks README's chapter on a real cluster as it stands there, command by command (make walk-test), as
# root:  walk.sh [bookworm|trixie]
#
# Three controllers and two hosts are containers with systemd, each in a network namespace of its own on
# one bridge, with the chapter's addresses and nothing but the packages' repository in reach. Hosts run
# libvirt's test driver, so that a hundred VMs cost nothing; real ones are in prove.sh. The root is
# that of prove.sh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
series=${1:-$(. /etc/os-release && echo "$VERSION_CODENAME")}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/megafleet/packages
began=$SECONDS
say() { printf 'walk-test: %3d s  %s\n' $((SECONDS - began)) "$*"; }
refuse() { printf 'walk-test: %s\n' "$*" >&2; exit 1; }
[ "$(id -u)" = 0 ] || refuse "run this as root: it boots containers"
for tool in systemd-nspawn nsenter ip gpg apt-ftparchive python3; do
  command -v $tool >/dev/null || refuse "$tool is missing: apt-get install systemd-container iproute2 gpg apt-utils"
done
ls dist/debian/"$series"/*.deb >/dev/null 2>&1 || refuse "no packages for $series: make deb SERIES=$series"
[ -e "$cache/$series.tar" ] || refuse "there is no root of $series: make deb-test SERIES=$series makes it"

mapfile -t commands < <(sed -n '/^## A real cluster$/,/^What each of these does/s/^    \(.*\)$/\1/p' README.md)
[ ${#commands[@]} -gt 8 ] || refuse "README's chapter 'A real cluster' has no commands any more"

work=$(mktemp -d "$cache/walk.XXXXXX")
net=walk$$
declare -A pid_of
finish() {
  local name
  exec 2>/dev/null
  for name in "${!pid_of[@]}"; do kill -KILL "$(leader "$name")" "${pid_of[$name]}" || :; done
  [ -z "${server:-}" ] || kill "$server" || :
  wait || :
  for name in lan c1 c2 c3 h1 h2; do ip netns delete "$net-$name" || :; done
  rm -rf --one-file-system "$work"
  # Last: what has been killed may take a moment to be gone.
  for name in c1 c2 c3 h1 h2; do
    find /sys/fs/cgroup/"$net-$name" /sys/fs/cgroup/*/"$net-$name" -depth -type d -exec rmdir {} + || :
  done
}
trap finish EXIT
# The first process inside: a child of systemd-nspawn that is systemd itself.
leader() {
  local child
  for child in $(pgrep -P "${pid_of[$1]}"); do
    if [ "$(cat "/proc/$child/comm" 2>/dev/null)" = systemd ]; then echo "$child"; fi
  done
}
# What a person types as root on a machine.
on() { # machine, command
  nsenter -a -t "$(leader "$1")" -- env -i HOME=/root TERM=dumb LANG=C.UTF-8 \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    sh -c "cd; ${mask:-:}; $2" </dev/null
}
walked() { say "$1\$ $2"; on "$1" "$2" || fail "$1: $2"; }
# What is typed on several machines, at the same time and with its words kept back.
installed() { # command, machines
  local name command=$1 failed=
  declare -A typing
  shift
  for name; do
    say "$name\$ $command"
    on "$name" "$command" >"$work/$name.apt" 2>&1 &
    typing[$name]=$!
  done
  for name; do
    wait "${typing[$name]}" || { cat "$work/$name.apt"; failed+=" $name"; }
  done
  [ -z "$failed" ] || fail "$command:$failed"
}
fail() {
  say "FAILED: $*"
  for name in "${!pid_of[@]}"; do
    echo "--- $name"
    on "$name" "journalctl --no-pager -n 25 -u etcd -u fleet-controller -u fleet-agent" || :
  done
  exit 1
}
awaits() { # seconds, command
  local until=$((SECONDS + $1))
  shift
  until "$@" >"$work/awaited" 2>&1; do
    if [ $SECONDS -gt $until ]; then cat "$work/awaited"; fail "$*"; fi
    sleep 0.5
  done
}

say "a repository at 192.0.2.10"
export GNUPGHOME=$work/gnupg
mkdir -m 700 "$GNUPGHOME"
gpg --batch --quiet --passphrase '' --quick-gen-key keeper@repository.test ed25519 sign never
deploy/packages/repository.sh keeper@repository.test "$work/apt" >/dev/null
gpgconf --kill all
ip netns add "$net-lan"
ip -n "$net-lan" link add br0 type bridge
ip -n "$net-lan" address add 192.0.2.10/24 dev br0
ip -n "$net-lan" link set br0 up
ip netns exec "$net-lan" python3 -m http.server --bind 192.0.2.10 --directory "$work/apt" 80 \
  >"$work/http.log" 2>&1 &
server=$!

machine() { # name, last number of its address
  local root=$work/$1
  # Not host0: the networkd of Debian 13 has a mind of its own about that.
  ip netns add "$net-$1"
  ip -n "$net-lan" link add "$1" type veth peer name lan0 netns "$net-$1"
  ip -n "$net-lan" link set "$1" master br0 up
  ip -n "$net-$1" address add "192.0.2.$2/24" dev lan0
  ip -n "$net-$1" link set lan0 up
  ip -n "$net-$1" link set lo up
  mkdir -m 755 "$root"
  tar -C "$root" -xf "$cache/$series.tar"
  rm -f "$root/etc/machine-id" "$root"/etc/apt/sources.list.d/*
  echo "$1" >"$root/etc/hostname"
  printf '127.0.0.1 localhost %s\n' "$1" >"$root/etc/hosts"
  # As docs/real-cluster.md has it; and whoever is asked by apt says yes.
  install -D -m 644 "$work/apt/megafleet.gpg" "$root/etc/apt/keyrings/megafleet.gpg"
  echo "deb [signed-by=/etc/apt/keyrings/megafleet.gpg] http://192.0.2.10/ $series main" \
    >"$root/etc/apt/sources.list"
  echo 'APT::Get::Assume-Yes "true";' >"$root/etc/apt/apt.conf.d/90yes"
  if [[ $1 = h* ]]; then
    mkdir -p "$root/etc/megafleet" "$root/var/lib/megafleet/storage"
    cat >"$root/etc/megafleet/agent.toml" <<END
guests = 60
labels = { rack = "r-$1" }
[hypervisor]
uri = "test:///etc/megafleet/node.xml"
[storage]
kind = "files"
parent = "/var/lib/megafleet/storage"
END
    echo '<node><cpu><mhz>2000</mhz><model>x</model><active>4</active><nodes>1</nodes>
<sockets>1</sockets><cores>4</cores><threads>1</threads></cpu><memory>8388608</memory></node>' \
      >"$root/etc/megafleet/node.xml"
  fi
  deploy/packages/own-cgroup.sh "$net-$1" systemd-nspawn --quiet -D "$root" -M "$1" --register=no \
    --keep-unit --capability=all --network-namespace-path="/run/netns/$net-$1" --boot \
    >"$work/$1.boot" 2>&1 </dev/null &
  pid_of[$1]=$!
}
say "booting three controllers and two hosts of $series"
machine c1 21
machine c2 22
machine c3 23
machine h1 31
machine h2 32
booted() { [ -n "$(leader "$1")" ] && on "$1" "systemctl is-system-running | grep -E 'running|degraded'"; }
for name in c1 c2 c3 h1 h2; do
  awaits 180 booted "$name"
  on "$name" "apt-get -q update" >"$work/$name.apt" 2>&1 || { cat "$work/$name.apt"; fail "$name: apt-get update"; }
done
on c1 "truncate -s 16M golden.img && mkfs.ext4 -q golden.img"

# `add-controller` waits for what its line does elsewhere.
adds() { # command, new machine
  local said=$work/said line
  say "c1\$ $1"
  on c1 "$1" >"$said" 2>&1 &
  local adding=$!
  awaits 60 grep -q '| fleetctl cluster join -' "$said"
  line=$(grep '| fleetctl cluster join -' "$said" | head -n 1)
  say "$2\$ fleetctl cluster join ..."
  on "$2" "$line" || fail "$2: the line that was printed"
  wait $adding || { cat "$said"; fail "$1"; }
}
for command in "${commands[@]}"; do
  case $command in
    "apt-get install megafleet-controller"*) installed "$command" c1 c2 c3 ;;
    "fleetctl cluster add-controller c2"*) adds "$command" c2 ;;
    "fleetctl cluster add-controller c3"*) adds "$command" c3 ;;
    umask*) mask=${command%%#*} ;;
    "apt-get install megafleet-agent"*) installed "$command" h1 h2 ;;
    "fleet-agent join"*)
      for name in h1 h2; do
        install -m 600 "$work/c1/root/token" "$work/$name/root/token"
        walked $name "$command"
      done
      hosts_live() { [ "$(on c1 "fleetctl hosts -o name" | wc -l)" = 2 ]; }
      awaits 60 hosts_live
      ;;
    fleetctl*) walked c1 "$command" ;;
    "") ;;
    *) refuse "README's chapter has a line that this does not know: $command" ;;
  esac
done
say "what has become of it"
on c1 "fleetctl cluster status" || fail "fleetctl cluster status"
on c1 "fleetctl status"
[ "$(on c1 "fleetctl hosts --health live -o name" | wc -l)" = 2 ] || fail "two hosts are not live"
[ "$(on c1 "fleetctl vms --state running --all -o name" | wc -l)" = 100 ] || fail "not 100 VMs run"
say "$series: passed"
