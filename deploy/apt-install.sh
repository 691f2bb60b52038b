#!/bin/sh
# apt-install.sh PACKAGE...: installs Debian packages, run as root, without starting any daemon.
#
# Setting up etcd-server enables and starts a system etcd that nobody asked for. It is kept from
# starting meanwhile, and left installed but disabled. A policy-rc.d or a unit file that exists
# already is the administrator's and stays as it is; so does an etcd that is installed already,
# since then nobody asks for the package here.
set -eu
log=$(mktemp)
made=""
clean() {
  rm -f "$log"
  for file in $made; do rm -f "$file"; done
}
trap clean EXIT
trap 'exit 130' INT TERM HUP

policy=/usr/sbin/policy-rc.d
unit=/etc/systemd/system/etcd.service
keep_daemons_down() {
  # invoke-rc.d starts nothing in runlevel 1: for System V scripts where policy-rc.d is taken.
  export RUNLEVEL=1
  if ! [ -e "$policy" ]; then
    made="$made $policy"
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
  fi
  if [ -d /etc/systemd/system ] && ! [ -e "$unit" ] && ! [ -L "$unit" ]; then
    made="$made $unit"
    ln -s /dev/null "$unit"
  fi
}

# As `systemctl disable etcd` does, which is not on every machine: what links to its unit goes.
leave_etcd_disabled() {
  if [ -d /etc/systemd/system ]; then
    find /etc/systemd/system -lname '*/etcd.service' -delete
  fi
  if [ -e /etc/init.d/etcd ]; then update-rc.d etcd disable >/dev/null 2>&1 || :; fi
  if [ -d /run/systemd/system ]; then systemctl daemon-reload >/dev/null 2>&1 || :; fi
}

run() { "$@" >"$log" 2>&1 </dev/null; }

export DEBIAN_FRONTEND=noninteractive
keep_daemons_down
# A package source that cannot be read is fatal only if the installation fails for it.
run apt-get -q -o DPkg::Lock::Timeout=120 update || tail -n 3 "$log" >&2
run apt-get -q -y -o DPkg::Lock::Timeout=120 install --no-install-recommends "$@" || {
  tail -n 15 "$log" >&2
  exit 1
}
case " $* " in
  *" etcd-server "*)
    clean
    leave_etcd_disabled
    ;;
esac
