#!/bin/sh
# Builds the Debian packages (make deb): build.sh [bookworm|trixie]
#
# Everything is laid out here, so that nothing is downloaded where it is installed: for each program
# an environment of its own with the locked wheels, for the Python of that Debian. What they are
# made of does not depend on the Debian that builds them. They go to dist/debian/SERIES.
# VERSION=... names another version than pyproject.toml, MAINTAINER='Name <address>' who answers.
set -eu
cd "$(dirname "$0")/../.."
here=deploy/packages
series=${1:-$(. /etc/os-release && echo "${VERSION_CODENAME:-}")}
say() { printf '%s\n' "deb: $*"; }
refuse() { say "$@" >&2; exit 1; }
case $series in
  bookworm) debian=12 python=3.11 after=3.12 ;;
  trixie) debian=13 python=3.13 after=3.14 ;;
  *) refuse "'$series' is none of bookworm (Debian 12) and trixie (Debian 13)" ;;
esac
for program in dpkg-buildpackage dh; do
  command -v $program >/dev/null || refuse "$program is missing: apt-get install dpkg-dev debhelper"
done
[ -x .venv/bin/fleetctl ] || refuse "run make setup first"
release=${VERSION:-$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)}
version=$release~deb$debian
maintainer=${MAINTAINER:-Megafleet maintainers <maintainers@megafleet.dev.invalid>}
machine=$(dpkg --print-architecture)
case $machine in
  amd64) platform=x86_64-manylinux_2_28 ;;
  arm64) platform=aarch64-manylinux_2_28 ;;
  *) refuse "the locked wheels are not there for $machine" ;;
esac
# Not a folder "build" beside the code: there are modules of that name.
build=$PWD/dist/build/$series
out=$PWD/dist/debian/$series
rm -rf "$build"
mkdir -p "$build/source/stage" "$out"
stage=$build/source/stage
. deploy/pip-settings.sh

wheel() {
  say "building the wheel"
  .tools/bin/uv build -q --wheel --no-build-isolation --python .venv/bin/python -o "$build/wheel"
}

environment() { # package, lock, its code beside fleet, programs as name=module:function
  name=$1 lock=$2 code=$3 system=$4
  shift 4
  home=/usr/lib/megafleet/$name
  at=$stage/$name$home
  site=$at/lib/python$python/site-packages
  say "$name: Python $python, $lock"
  mkdir -p "$at/bin" "$site" "$stage/$name/usr/bin"
  # sdnotify alone has no wheel; it is pure Python.
  install="env VIRTUAL_ENV= .tools/bin/uv pip install -q --no-deps --python .venv/bin/python --target $site
    --python-version $python --python-platform $platform --no-build-isolation --link-mode copy"
  $install --require-hashes --only-binary :all: --no-binary sdnotify -r "$lock"
  $install "$build"/wheel/*.whl
  for other in fleet_agent fleet_controller fleetctl megafleet; do
    case " $code " in *" $other "*) ;; *) rm -rf "${site:?}/$other" ;; esac
  done
  # What it says of itself is the release that it is packed as.
  sed -i "s/^Version: .*/Version: $release/" "$site"/megafleet-*.dist-info/METADATA
  rm -rf "$site/bin" "$site/.lock" "$site"/*.dist-info/direct_url.json
  find "$site" -name __pycache__ -exec rm -rf {} +
  ln -s "/usr/bin/python$python" "$at/bin/python"
  printf 'home = /usr/bin\ninclude-system-site-packages = %s\nversion = %s\n' "$system" "$python" \
    >"$at/pyvenv.cfg"
  for program in "$@"; do
    command=${program%%=*} target=${program#*=}
    printf '#!%s/bin/python -I\nfrom %s import %s\n\n%s()\n' "$home" \
      "${target%%:*}" "${target#*:}" "${target#*:}" >"$at/bin/$command"
    chmod 755 "$at/bin/$command"
    ln -s "$home/bin/$command" "$stage/$name/usr/bin/$command"
  done
}

# A package's program is on everybody's path.
unit() { # name, file
  sed 's|/opt/megafleet/venv/bin/|/usr/bin/|' "deploy/systemd/$1.service" >"$2"
}

examples() { # package, files
  to=$stage/$1/usr/share/doc/megafleet-$1/examples
  shift
  mkdir -p "$to"
  install -m 644 "$@" "$to"
}

completions() {
  to=$stage/client/usr/share
  mkdir -p "$to/bash-completion/completions" "$to/zsh/vendor-completions" \
    "$to/fish/vendor_completions.d"
  .venv/bin/fleetctl completion bash >"$to/bash-completion/completions/fleetctl"
  .venv/bin/fleetctl completion zsh >"$to/zsh/vendor-completions/_fleetctl"
  .venv/bin/fleetctl completion fish >"$to/fish/vendor_completions.d/fleetctl.fish"
}

# Generated from the commands.
manuals() {
  make -s man MAN="$build/man"
  mkdir -p "$stage/client/usr/share/man/man1"
  find "$build/man" -name '*.1' -exec install -m 644 {} "$stage/client/usr/share/man/man1" \;
}

# What the packages of programs have in common, beside what one has of its own.
scripts() {
  for program in agent client controller; do
    for kind in postinst prerm lintian-overrides; do
      sed "s|@PROGRAM@|$program|g" $here/debian/program.$kind.in \
        >>"$build/source/debian/megafleet-$program.$kind"
    done
  done
  rm "$build"/source/debian/program.*.in
}

guests() {
  to=$stage/guests/usr/lib/megafleet/guests
  mkdir -p "$to/linux"
  if ! [ -e deploy/guests/out/tiny.elf ] || ! [ -e deploy/guests/out/linux/initrd.img ]; then
    say "building the guests"
    make -s -C deploy/guests
  fi
  install -m 644 deploy/guests/out/tiny.elf "$to"
  install -m 644 deploy/guests/out/linux/vmlinuz deploy/guests/out/linux/initrd.img "$to/linux"
  mkdir -p "$stage/guests/usr/share/doc/megafleet-guests/examples"
  install -m 644 deploy/samples/*.yaml "$stage/guests/usr/share/doc/megafleet-guests/examples"
}

wheel
environment agent deploy/lab/agent.lock fleet_agent true \
  fleet-agent=fleet_agent.daemon.main:main fleet-hollow=fleet_agent.hollow.main:main
environment controller $here/controller.lock fleet_controller false \
  fleet-controller=fleet_controller.main:main
environment client $here/client.lock "fleetctl megafleet" false fleetctl=fleetctl.entry:main
say "the dom0's program for disks"
make -s -C deploy/dom0 OUT="$build/dom0"
install -D -m 755 "$build/dom0/block-phy" "$stage/agent/usr/lib/megafleet/block-phy"
# The agent's upgrade_command, unless its settings say otherwise.
install -m 755 $here/upgrade-agent "$stage/agent/usr/lib/megafleet/agent/bin/upgrade-agent"
examples agent deploy/settings/agent.toml
examples controller deploy/settings/controller.env deploy/settings/etcd.env
completions
manuals
guests
install -D -m 644 deploy/systemd/etcd.service.d/megafleet.conf \
  "$stage/controller/usr/lib/systemd/system/etcd.service.d/megafleet.conf"

cp -r $here/debian "$build/source/debian"
scripts
for program in agent controller; do
  unit fleet-$program "$build/source/debian/megafleet-$program.fleet-$program.service"
done
sed -e "s|@PYTHON@|$python|; s|@PYTHON_AFTER@|$after|; s|@MAINTAINER@|$maintainer|" \
  "$build/source/debian/control.in" >"$build/source/debian/control"
rm "$build/source/debian/control.in"
cat >"$build/source/debian/changelog" <<END
megafleet ($version) $series; urgency=medium

  * Built from a checkout. What has changed is told by its history.

 -- $maintainer  $(date -R -d "@${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}")
END
say "packing $version"
(cd "$build/source" && dpkg-buildpackage -b -us -uc >"$build/log" 2>&1) || {
  tail -n 20 "$build/log" >&2
  refuse "dpkg-buildpackage failed; its log is $build/log"
}
rm -f "$out"/*.deb
mv "$build"/*.deb "$out"
ls -sh "$out"/*.deb
