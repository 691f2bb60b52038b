#!/usr/bin/env bash
# Shows that the demo and the sandbox work on a fresh minimal Debian (make rootfs-test), as root:
#
#   prove.sh [bookworm|trixie|all] [root|user|guest|all] [demo|setup|ci|real]
#
# Each combination gets a root of its own, with nothing but Debian's minimum, make, git and sudo,
# and a fresh clone of this checkout's HEAD in it. The user may sudo. The guest may not, and finds
# Python there but no etcd: the demo runs on a store in memory. HOSTS is the size of the demo's
# sandbox there (default 64). The roots are made with mmdebstrap, from MIRROR where it is set, and
# cached. `setup` shows `make setup` alone, `ci` what .ci/run does: all tests, and `real` what
# `make demo-real` does there, with VMS (default 3) emulated kernels.
set -euo pipefail

checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/megafleet/rootfs
suites=${1:-all} people=${2:-all} scope=${3:-demo}
[ "$suites" = all ] && suites="bookworm trixie"
[ "$people" = all ] && people="root user guest"

say() { printf '\n== %s\n' "$*"; }
refuse() { printf 'prove.sh: %s\n' "$*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || refuse "run this as root: it mounts and enters roots"
for tool in mmdebstrap unshare git tar; do
  command -v $tool >/dev/null || refuse "$tool is missing: apt-get install mmdebstrap util-linux git"
done

# What the network needs here: certificates (copied into the root), package index, proxies.
bundle=${SSL_CERT_FILE:-${PIP_CERT:-}}
bundle_inside=/var/tmp/ca-bundle.pem
passed=()
if [ -n "$bundle" ]; then passed+=("SSL_CERT_FILE=$bundle_inside" "PIP_CERT=$bundle_inside"); fi
for name in PIP_INDEX_URL UV_DEFAULT_INDEX UV_INDEX_URL \
  http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
  if [ -n "${!name:-}" ]; then passed+=("$name=${!name}"); fi
done

base_root() { # suite: makes the cached archive, prints its path
  local archive=$cache/$1.tar
  if ! [ -e "$archive" ]; then
    mkdir -p "$cache"
    mmdebstrap --quiet --variant=minbase --include=make,git,sudo "$1" "$archive.new.tar" ${MIRROR:-} >&2
    mv "$archive.new.tar" "$archive"
  fi
  printf '%s\n' "$archive"
}

# Runs in a mount and process namespace of its own: all of it is gone when it ends.
enter() { # root, home, user, and a script
  local root=$1 home=$2 user=$3 script=$4
  # shellcheck disable=SC2016
  unshare --mount --pid --fork --kill-child sh -euc '
    root=$1 home=$2 user=$3 script=$4; shift 4
    # The root becomes that of this namespace, and the one of the machine is out of reach: in a mere
    # chroot libvirt, which enters namespaces of its QEMUs, would make devices in the real /dev.
    mount --make-rprivate /
    mount --bind "$root" "$root"
    cp /etc/resolv.conf /etc/hosts "$root/etc/"
    mount -t tmpfs tmpfs "$root/tmp" -o mode=1777
    # libvirt gives each QEMU a /dev of its own, made from one that is a mount with terminals.
    mount -t tmpfs tmpfs "$root/dev" -o mode=755
    for device in null zero full random urandom tty; do
      cp -a "/dev/$device" "$root/dev/$device"
    done
    mkdir "$root/dev/pts" "$root/dev/shm"
    mount -t devpts devpts "$root/dev/pts" -o newinstance,ptmxmode=0666,mode=620,gid=5
    ln -s pts/ptmx "$root/dev/ptmx"
    ln -s /proc/self/fd "$root/dev/fd"
    mkdir -p "$root/before"
    cd "$root"
    pivot_root . before
    mount -t proc proc /proc
    mount -t sysfs -o ro sysfs /sys
    cd /
    umount -l /before
    rmdir /before
    sudo -u "$user" env -i HOME="$home" USER="$user" TERM=dumb LANG=C.UTF-8 \
      PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@" \
      bash -euo pipefail -c "cd; cd megafleet; $script" </dev/null
  ' sh "$root" "$home" "$user" "$script" "${passed[@]}"
}

shown_setup='
say() { printf "\n-- %s\n" "$*"; }
say "before: $(. /etc/os-release; echo "$PRETTY_NAME"), as $(id -un)"
for tool in python3 pip etcd uv gcc; do printf "%s: %s\n" $tool "$(command -v $tool || echo none)"; done
say "make setup"; time make setup
say "make setup, again"; time make setup
say "after"; etcd --version | sed -n 1p; .venv/bin/python -V; .venv/bin/fleetctl version -o json || :
for left in /usr/sbin/policy-rc.d /etc/systemd/system/etcd.service; do
  if [ -e $left ] || [ -L $left ]; then echo "left behind: $left"; exit 1; fi
done
if find /etc/systemd/system /etc/rc?.d -name "*etcd*" -name "[!K]*" 2>/dev/null | grep .; then
  echo "a system etcd is enabled"; exit 1
fi
'
none_left='
none_left() {
  for process in /proc/[0-9]*; do
    if tr "\0" " " <$process/cmdline 2>/dev/null | grep -E "^[^ ]*(etcd|python[^ ]*) "; then
      echo "still runs after $1"; exit 1
    fi
  done
}
'
shown_demo="$none_left"'
say "Debian lets pip install nothing into the system"; ls /usr/lib/python3*/EXTERNALLY-MANAGED
say "make demo HOSTS=$HOSTS"; time make demo HOSTS=$HOSTS; none_left demo
fleetctl=.venv/bin/fleetctl
say "sandbox up"; time $fleetctl sandbox up --hosts $HOSTS
say "sandbox up, again"; time $fleetctl sandbox up
say "sandbox status"; $fleetctl sandbox status
say "apply and scale"; $fleetctl apply -f deploy/samples/spv.yaml
$fleetctl scale --total 1000; $fleetctl status
say "sandbox down"; time $fleetctl sandbox down; none_left down
'

shown_refusal='
printf "\n-- make setup, without python3-venv and without sudo\n"
if sudo -n true 2>/dev/null || make setup; then exit 1; fi
'
shown_to_guest='
printf "\n-- make demo HOSTS=$HOSTS, with python3-venv\n"; time make demo HOSTS=$HOSTS
fleetctl=.venv/bin/fleetctl
$fleetctl sandbox up --hosts 8; $fleetctl sandbox status; $fleetctl sandbox down
'
prove_guest() { # root, user, home
  local install="sh deploy/apt-install.sh"
  enter "$1" "$3" root "$install python3"
  enter "$1" "$3" "$2" "$shown_refusal"
  enter "$1" "$3" root "$install python3-venv"
  enter "$1" "$3" "$2" "HOSTS=${HOSTS:-64}; $shown_to_guest"
}

shown_ci="$none_left"'printf "\n-- .ci/run\n"; time .ci/run; none_left ".ci/run"'

shown_real="$none_left"'
say() { printf "\n-- %s\n" "$*"; }
say "make demo-real VMS=$VMS"; time make demo-real VMS=$VMS
none_left "make demo-real"
for left in /run/libvirt/qemu/*.pid /var/lib/megafleet; do
  if [ -e $left ]; then echo "left behind: $left"; exit 1; fi
done
if pgrep -x "virtlogd|libvirtd|qemu-system-x86" 2>/dev/null; then echo "still runs"; exit 1; fi
'

prove() { # suite, person
  local archive root home=/root user=root script=$shown_setup
  archive=$(base_root "$1")
  root=$(mktemp -d "$cache/$1-$2.XXXX")
  # shellcheck disable=SC2064
  trap "rm -rf --one-file-system '$root'" EXIT
  tar -C "$root" -xf "$archive"
  if [ -n "$bundle" ]; then install -m 644 "$bundle" "$root$bundle_inside"; fi
  if [ "$2" != root ]; then
    user=ada home=/home/ada
    chroot "$root" useradd -m -s /bin/bash $user
  fi
  if [ "$2" = user ]; then
    echo "$user ALL=(ALL) NOPASSWD: ALL" >"$root/etc/sudoers.d/$user"
  fi
  # Root lifts what sudo bounds, unless it lacks CAP_SYS_RESOURCE, as here it may.
  echo "Defaults rlimit_core=default" >"$root/etc/sudoers.d/limits"
  git clone -q --no-hardlinks "$checkout" "$root$home/megafleet"
  chroot "$root" chown -R $user "$home/megafleet"
  case $scope in
    setup) ;;
    demo) script+=$shown_demo ;;
    ci) script=$shown_ci ;;
    real) script=$shown_real ;;
    *) refuse "unknown scope '$scope'" ;;
  esac
  if [ "$2" = guest ]; then prove_guest "$root" $user $home
  else enter "$root" $home $user "HOSTS=${HOSTS:-64} VMS=${VMS:-3}; $script"
  fi
  rm -rf --one-file-system "$root"
  trap - EXIT
}

for suite in $suites; do
  for person in $people; do
    say "$suite as $person"
    prove "$suite" "$person"
    say "$suite as $person: passed"
  done
done
