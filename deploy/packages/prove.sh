#!/bin/bash
# Shows that the packages of dist/debian work on a fresh Debian (make deb-test), as root:
#   prove.sh [bookworm|trixie]
#
# A container with systemd and no network gets a signed repository: what is missing there cannot be
# downloaded. In it inside.sh installs, founds a cluster, makes the machine its host, boots VMs in QEMU,
# upgrades, and purges. The root is made with mmdebstrap, from MIRROR where it is set, and cached.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
series=${1:-$(. /etc/os-release && echo "$VERSION_CODENAME")}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/megafleet/packages
say() { printf '%s\n' "deb-test: $*"; }
refuse() { say "$@" >&2; exit 1; }
[ "$(id -u)" = 0 ] || refuse "run this as root: it boots a container"
for tool in mmdebstrap systemd-nspawn gpg apt-ftparchive; do
  command -v $tool >/dev/null ||
    refuse "$tool is missing: apt-get install mmdebstrap systemd-container gpg apt-utils"
done
ls dist/debian/"$series"/*.deb >/dev/null 2>&1 || refuse "no packages for $series: make deb"

# What the packages depend on, and what makes a host of QEMU.
needed=systemd,systemd-sysv,dbus,python3,python3-libvirt,iproute2,e2fsprogs,procps,adduser,udev
needed+=,etcd-server,etcd-client,libvirt-daemon-system,libvirt-clients,qemu-system-x86,qemu-utils
base=$cache/$series.tar
if ! [ -e "$base" ]; then
  say "making a root of $series"
  mkdir -p "$cache"
  mmdebstrap --quiet --variant=minbase --include=$needed "$series" "$base.new.tar" ${MIRROR:-}
  mv "$base.new.tar" "$base"
fi

work=$(mktemp -d "$cache/work.XXXXXX")
group=megafleet-prove-$$
finish() {
  rm -rf --one-file-system "$work"
  find /sys/fs/cgroup/"$group" /sys/fs/cgroup/*/"$group" -depth -type d -exec rmdir {} + 2>/dev/null || :
}
trap finish EXIT
root=$work/root
mkdir -m 755 "$root"
chmod 755 "$work"
tar -C "$root" -xf "$base"

# Two keys: of the repository, and of a stranger.
export GNUPGHOME=$work/gnupg
mkdir -m 700 "$GNUPGHOME"
for name in keeper stranger; do
  gpg --batch --quiet --passphrase '' --quick-gen-key "$name@repository.test" ed25519 sign never
done
repository() { # key, folder, packages
  deploy/packages/repository.sh "$1@repository.test" "$2" "$3" >/dev/null
  find "$2"/pool "$2"/dists -mindepth 1 -maxdepth 1 ! -name "$series" -exec rm -rf {} +
}
say "signing repositories"
repository keeper "$root/srv/apt" dist/debian
install -m 644 "$root/srv/apt/megafleet.gpg" "$root/usr/share/keyrings/megafleet.gpg"
repository stranger "$root/srv/stranger" dist/debian
# The next release: the same, under a higher version.
mkdir -p "$work/next/$series"
for name in agent controller; do
  deb=$(ls dist/debian/"$series"/megafleet-$name*.deb)
  dpkg-deb -R "$deb" "$work/$name"
  sed -i 's/^Version: /Version: 9/' "$work/$name/DEBIAN/control" \
    "$work/$name"/usr/lib/megafleet/$name/lib/python*/site-packages/megafleet-*.dist-info/METADATA
  dpkg-deb -Zgzip -z1 -b "$work/$name" "$work/next/$series" >/dev/null
done
dpkg-deb -f "$work/next/$series"/megafleet-agent_*.deb Version | sed 's/~deb.*//' >"$root/srv/next.release"
repository keeper "$root/srv/next" "$work/next"
repository stranger "$root/srv/stranger-next" "$work/next"
gpgconf --kill all

install -m 755 deploy/packages/inside.sh "$root/srv/inside.sh"
cat >"$root/etc/systemd/system/prove.service" <<'END'
[Service]
Type=simple
StandardOutput=file:/srv/said
StandardError=inherit
Environment=HOME=/root
ExecStart=/srv/inside.sh
ExecStopPost=/bin/sh -c 'echo "$EXIT_STATUS" >/srv/status'
ExecStopPost=/bin/systemctl --no-block poweroff
[Install]
WantedBy=multi-user.target
END
mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
ln -s ../prove.service "$root/etc/systemd/system/multi-user.target.wants/prove.service"
rm -f "$root/etc/machine-id"

say "booting $series"
touch "$root/srv/said"
tail -n +1 -f "$root/srv/said" &
tail=$!
timeout 1800 deploy/packages/own-cgroup.sh "$group" systemd-nspawn --quiet -D "$root" --register=no --keep-unit --private-network \
  --capability=all --boot >"$work/boot.log" 2>&1 </dev/null || :
sleep 1
kill $tail
status=$(cat "$root/srv/status" 2>/dev/null || echo none)
if [ "$status" != 0 ]; then
  tail -n 30 "$work/boot.log" >&2
  refuse "$series: failed ($status)"
fi
say "$series: passed"
