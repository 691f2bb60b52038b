#!/bin/sh
# Resolves pyproject.toml anew into the lock files (make lock): for every Python from 3.11 on, with
# hashes, and without addresses of a package index, so that any mirror serves.
# Arguments go to uv, as `--upgrade` or `--upgrade-package grpcio`.
set -eu
cd "$(dirname "$0")/.."
export UV_PYTHON_DOWNLOADS=never
compile() { # the lock to write, its source, further arguments of uv
  out=$1
  shift
  .tools/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes \
    --no-header --no-annotate -o "$out" "$@"
}
compile deploy/tools.lock deploy/tools.in "$@"
compile deploy/build.lock --group build "$@"
# The generator of the stubs holds protobuf back; what runs is what was tested.
compile requirements-dev.lock pyproject.toml --all-extras --group dev -c deploy/build.lock "$@"
compile requirements.lock pyproject.toml --extra controller --extra agent --extra cli \
  -c requirements-dev.lock "$@"
# What the lab puts into its dom0, which downloads nothing itself.
compile deploy/lab/agent.lock pyproject.toml --extra agent -c requirements.lock "$@"
# What Debian packages carry: of the agent the same.
compile deploy/packages/controller.lock pyproject.toml --extra controller -c requirements.lock "$@"
compile deploy/packages/client.lock pyproject.toml --extra cli -c requirements.lock "$@"
# What leads the fuzzing of parsers by coverage: installed by make fuzz alone, since it comes ready
# built for few machines.
compile deploy/fuzz.lock --group fuzz "$@"
