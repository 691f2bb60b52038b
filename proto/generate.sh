#!/bin/sh
# Regenerates the committed stubs from the .proto files (make proto). `--check` fails when
# the committed ones are not what the generator makes.
set -eu
cd "$(dirname "$0")"
python=${PYTHON:-../.venv/bin/python}
bin=$(dirname "$(command -v "$python")")
out=.
if [ "${1:-}" = --check ]; then
  out=$(mktemp -d)
  trap 'rm -rf "$out"' EXIT
fi
PATH="$(cd "$bin" && pwd):$PATH" "$python" -m grpc_tools.protoc -I . \
  --python_out="$out" --grpc_python_out="$out" --mypy_out="$out" --mypy_grpc_out="$out" \
  fleet/v1/types.proto fleet/v1/joining.proto fleet/v1/people.proto fleet/v1/upgrade.proto fleet/v1/rebalance.proto fleet/v1/commands.proto fleet/v1/copies.proto fleet/v1/agent.proto fleet/v1/cluster.proto fleet/etcd/rpc.proto
if [ "$out" != . ]; then
  for made in $(cd "$out" && find . -name '*_pb2*.py*'); do
    cmp -s "$out/$made" "$made" || { echo "proto/$made is out of date: run 'make proto'" >&2; exit 1; }
  done
fi
