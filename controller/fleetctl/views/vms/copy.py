"""What became of a file that was copied into VMs, as objects for scripts."""

from __future__ import annotations

from typing import Any

from fleet.guest_commands.answers import Answer
from fleet.ranges import IndexSet
from fleet.v1 import copies_pb2 as wire
from fleetctl.views.vms.run import RunResult, end_json, group_json


def copied_json(answer: Answer, indices: IndexSet) -> dict[str, Any]:
    whole = group_json(answer, indices)
    return {key: whole[key] for key in ("event", "vms", "indices", "outcome", "sha256", "reason")}


def copies_json(result: RunResult, file: wire.CopiedFile, seconds: float) -> dict[str, Any]:
    """The last one."""
    whole = end_json(result, seconds)
    del whole["exit_codes"]
    return whole | {"path": file.path, "bytes": file.size, "sha256": file.digest.hex()}
