#!/bin/sh
# Makes this checkout runnable: `setup.sh run` for the demo, `setup.sh dev` for the tests too.
#
# Installs what is missing from Debian (as root or through sudo), uv into .tools, and the locked
# environment into .venv. May be repeated; returns at once when there is nothing to do.
# PYTHON=/path/to/python3 chooses the interpreter.
set -eu
cd "$(dirname "$0")/.."
kind=${1:-run}
python=${PYTHON:-python3}

say() { printf '%s\n' "setup: $*"; }
refuse() { say "$@" >&2; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }

# A stamp holds the checksum of what the environment was made from, and where: it cannot be moved.
inputs="requirements.lock deploy/tools.lock deploy/build.lock pyproject.toml deploy/setup.sh"
case $kind in
  run) ;;
  dev) inputs="$inputs requirements-dev.lock" ;;
  *) refuse "unknown kind '$kind'; it is 'run' or 'dev'" ;;
esac
checksum() { { pwd; cat $inputs; } | cksum; }
is_current() { [ -x .venv/bin/python ] && [ "$(cat ".venv/.setup-$kind" 2>&1)" = "$(checksum)" ]; }

# --- packages of the system ------------------------------------------------------------------

has_venv() { has "$python" && "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; }
has_headers() {
  has "$python" && "$python" -c 'import pathlib, sysconfig
raise SystemExit(not pathlib.Path(sysconfig.get_path("include"), "Python.h").exists())'
}

missing_packages() {
  has "$python" || echo python3
  has_venv || echo python3-venv
  has etcd || echo etcd-server
  [ "$kind" = dev ] || return 0
  has etcdutl || has etcdctl || echo etcd-client
  has git || echo git
  has gcc || echo gcc libc6-dev
  has pkg-config || echo pkg-config
  { has pkg-config && pkg-config --exists libvirt; } || echo libvirt-dev
  has_headers || echo python3-dev
  has qemu-img || echo qemu-utils
  has mke2fs || [ -x /usr/sbin/mke2fs ] || echo e2fsprogs
}

# How root is reached: "" as root, "sudo -n", "sudo" (may ask for a password), or "none".
find_root() {
  if ! has apt-get; then root=none
  elif [ "$(id -u)" = 0 ]; then root=""
  elif ! has sudo; then root=none
  elif sudo -n true 2>/dev/null; then root="sudo -n"
  elif [ "$1" = may_ask ] && [ -t 0 ] && sudo -v; then root="sudo"
  else root=none
  fi
}

install_packages() {
  packages=$(missing_packages | tr '\n' ' ')
  if [ -z "$packages" ]; then return 0; fi
  find_root may_ask
  if [ "$root" != none ]; then
    say "installing from Debian: $packages"
    $root sh deploy/apt-install.sh $packages || say "apt failed; what it said is above"
  fi
  packages=$(missing_packages | tr '\n' ' ')
  if [ -n "$packages" ] && [ "$kind" = dev ]; then
    refuse "the tests need packages that could not be installed here: $packages"
  fi
  has etcd || say "etcd is missing and cannot be installed here (Debian package etcd-server):" \
    "the sandbox will keep its store in memory, which is not durable"
}

# --- Python ----------------------------------------------------------------------------------

check_python() {
  has "$python" || refuse "Python is missing: install Python 3.11 or newer, then run this again"
  "$python" -c 'import sys; raise SystemExit(sys.version_info < (3, 11))' || refuse \
    "$(command -v "$python") is $("$python" -V 2>&1), and Megafleet needs Python 3.11 or newer;" \
    "PYTHON=/path/to/python3 chooses another"
}

has_pip() { "$python" -m pip --version >/dev/null 2>&1; }

# The index and the certificates that pip is configured for serve uv as well.
adopt_pip_settings() {
  if [ -x .tools/bin/python ]; then with_pip=.tools/bin/python; else with_pip=$python; fi
  pip_setting() { "$with_pip" -m pip config get "global.$1" 2>/dev/null || :; }
  if [ -z "${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-}" ]; then
    index=${PIP_INDEX_URL:-$(pip_setting index-url)}
    if [ -n "$index" ]; then export UV_DEFAULT_INDEX="$index"; fi
  fi
  if [ -z "${SSL_CERT_FILE:-}" ]; then
    bundle=${PIP_CERT:-$(pip_setting cert)}
    if [ -n "$bundle" ]; then export SSL_CERT_FILE="$bundle"; fi
  fi
}

pip_installs_uv() { # the interpreter whose pip does it, and further arguments
  with_pip=$1
  shift
  say "installing uv into .tools"
  "$with_pip" -m pip install -q --disable-pip-version-check --no-input --require-hashes \
    --only-binary :all: "$@" -r deploy/tools.lock </dev/null ||
    refuse "pip could not install uv; what it said is above"
}

find_uv() {
  uv=.tools/bin/uv
  if [ -x "$uv" ] && [ "$(cat .tools/.setup 2>&1)" = "$(cksum <deploy/tools.lock)" ]; then
    return 0
  fi
  if has_venv; then
    "$python" -m venv --clear .tools
    pip_installs_uv .tools/bin/python
  elif has_pip; then
    # A folder of its own is no part of the system, which pip refuses to touch.
    rm -rf .tools
    pip_installs_uv "$python" --target .tools/site
    mkdir -p .tools/bin && ln -s ../site/bin/uv "$uv"
  elif has uv; then
    uv=uv
    return 0
  else
    refuse "$(command -v "$python") has neither venv nor pip: install its venv module" \
      "(on Debian: apt-get install python3-venv), then run this again"
  fi
  cksum <deploy/tools.lock >.tools/.setup
}

# Build tools are locked like the rest and installed first, so that no build fetches others.
# sdnotify alone has no wheel; it is pure Python and needs no compiler.
make_environment() {
  export UV_PYTHON_DOWNLOADS=never UV_NO_PROGRESS=1
  say "installing the locked environment into .venv"
  if ! .venv/bin/python -c 'import sys; raise SystemExit(sys.version_info < (3, 11))' 2>/dev/null
  then "$uv" venv -q --clear --python "$(command -v "$python")" .venv
  fi
  rm -f ".venv/.setup-run" ".venv/.setup-dev"
  uv_install() {
    "$uv" pip install -q --python .venv/bin/python --no-build-isolation "$@" </dev/null ||
      refuse "uv could not install the locked environment; what it said is above"
  }
  uv_install --require-hashes --only-binary :all: -r deploy/build.lock
  uv_install --require-hashes --only-binary :all: --no-binary sdnotify --compile-bytecode \
    -r requirements.lock
  if [ "$kind" = dev ]; then uv_install --require-hashes -r requirements-dev.lock; fi
  uv_install --no-deps --editable .
  # Whoever may not write here, or is told to write no bytecode, would compile it at each start.
  .venv/bin/python -m compileall -q proto controller agent ||
    say "not everything was compiled: programs start more slowly"
}

record() {
  all=$inputs
  inputs=${all% requirements-dev.lock}
  checksum >.venv/.setup-run
  inputs=$all
  if [ "$kind" = dev ]; then checksum >.venv/.setup-dev; fi
}

if is_current; then
  if has etcd; then exit 0; fi
  find_root may_not_ask
  if [ "$root" = none ]; then exit 0; fi
fi
install_packages
if is_current; then exit 0; fi
check_python
find_uv
adopt_pip_settings
make_environment
record
