"""What each host may have, as its reports are held against it."""

from __future__ import annotations

from dataclasses import dataclass

from fleet_controller.core.host_claims import admitted_guests
from fleet_controller.core.model import Assignment
from fleet_controller.mirror.state import ClusterState
from fleet_controller.observed.report_bounds import Allowance, allowance_of


@dataclass(frozen=True, slots=True)
class _Kept:
    """`assignment`, `guests` and `any_fleet`: what it was made from."""

    assignment: Assignment
    guests: int
    any_fleet: bool
    allowance: Allowance


class Allowances:
    """Of one leadership. Every report asks: what was made once is kept while it holds."""

    def __init__(self, state: ClusterState) -> None:
        self._state = state
        self._kept: dict[str, _Kept] = {}

    def of(self, host_id: str, *, any_fleet: bool = False) -> Allowance:
        """By the host's assignment and its capacity. `any_fleet`: fleets too that it was never
        told of."""
        assignment, guests = self._state.assignment(host_id), self._guests(host_id)
        have = self._kept.get(host_id)
        if have and (have.assignment is assignment, have.guests, have.any_fleet) == (
            True, guests, any_fleet,
        ):  # fmt: skip
            return have.allowance
        made = allowance_of(
            assignment, guests, any_fleet=any_fleet, spec_bytes=self._spec_bytes(assignment)
        )
        self._kept[host_id] = _Kept(assignment, guests, any_fleet, made)
        return made

    def forget(self, host_id: str) -> None:
        """The host is known no more."""
        self._kept.pop(host_id, None)

    def _spec_bytes(self, assignment: Assignment) -> int:
        told = {(shard.fleet, shard.generation) for shard in assignment.shards}
        return sum(spec.ByteSize() for key in told if (spec := self._state.specs.get(key)))

    def _guests(self, host_id: str) -> int:
        """An operator's bound says how many orphans to believe as well, where the capacity of the
        host has shrunk."""
        record = self._state.hosts.get(host_id)
        if record is None:
            return 0
        return max(admitted_guests(record, self._state.guest_claims.usual), record.max_guests)
