"""What a VM that is copied from a template cannot have, and where an agent's templates lie."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fleet.template.bridges import maker_of
from fleet.v1 import types_pb2 as types


def templates_folder(ledger: Path) -> str:
    """Where the templates of the agent with this ledger lie: in memory, and no other agent's."""
    return f"/dev/shm/megafleet-{maker_of(ledger)}"


def start_problems(spec: types.FleetSpec) -> Iterator[str]:
    """One sentence each, beginning with the field."""
    if spec.start != types.START_CLONE:
        return
    if not spec.boot.kernel:
        yield (
            "start: clone needs boot.kernel: firmware and loaders read the disk, which is another "
            "for each copy"
        )
    if spec.more_disks:
        yield "start: clone takes one disk, the VM's own; leave out disks"
    if spec.HasField("identity"):
        yield (
            "start: clone tells each copy who it is over a port of its own; leave out identity, "
            "whose seed is read by what boots"
        )
