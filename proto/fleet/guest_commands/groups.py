"""VMs that have answered alike, gathered as answers come and told on in small parts.

What is held is bounded: beyond so many different answers, or so many bytes of them, whatever is
new stands under one answer without an output.
"""

from __future__ import annotations

from collections.abc import Iterator

from fleet.guest_commands.answers import Answer
from fleet.ranges import IndexSet
from fleet.v1 import commands_pb2 as wire
from fleet.wire_ranges import to_wire

# Different answers, and bytes of them: on a host, and in the leader.
MOST_ON_HOST, MOST_BYTES_ON_HOST = 1_024, 1 << 20
MOST_IN_LEADER, MOST_BYTES_IN_LEADER = 8_192, 8 << 20
# On a host however many hosts are asked: where each answers otherwise than all others, the leader
# keeps those of the first few hosts, and none shall have read what nobody will.
LEAST_ON_HOST = 16
# Kinds of answers without an output: outcomes by exit codes.
MORE_WITHOUT_OUTPUT = 8 * 256
# Of one part that is told: what it costs to read stays small.
_PART_BYTES = 256 * 1024
_PART_RANGES = 8_192


def most_on_each(hosts: int) -> int:
    """How many different answers each of so many hosts tells apart."""
    return min(MOST_ON_HOST, max(LEAST_ON_HOST, MOST_IN_LEADER // max(1, hosts)))


class OutcomeGroups:
    """Of one call, at one end of it."""

    def __init__(self, most_answers: int, most_bytes: int) -> None:
        self._most_answers = most_answers
        self._most_bytes = most_bytes
        self._numbers: dict[Answer, int] = {}
        self._bytes = 0
        self._untold: set[Answer] = set()
        self._pending: dict[Answer, list[tuple[int, int]]] = {}
        self.vms = 0  # that were added

    def add(self, indices: IndexSet, answer: Answer) -> None:
        """Each VM once: that is the caller's to see to."""
        if not indices:
            return
        known = self._known(answer)
        self._pending.setdefault(known, []).extend(indices.ranges)
        self.vms += len(indices)

    def add_untold(self, vms: int) -> None:
        """VMs of which the caller is told otherwise."""
        self.vms += vms

    def take(self) -> Iterator[list[wire.OutcomeGroup]]:
        """What was added since it was taken last, in parts."""
        pending, self._pending = self._pending, {}
        part: list[wire.OutcomeGroup] = []
        size = ranges = 0
        for answer, pairs in pending.items():
            joined = IndexSet(pairs)
            for start in range(0, len(joined.ranges), _PART_RANGES):
                group = wire.OutcomeGroup(
                    number=self._numbers[answer],
                    indices=to_wire(IndexSet(joined.ranges[start : start + _PART_RANGES])),
                )
                if answer in self._untold:
                    self._untold.discard(answer)
                    group.text.CopyFrom(answer.message())
                    size += answer.size
                part.append(group)
                ranges += len(group.indices)
                if size >= _PART_BYTES or ranges >= _PART_RANGES:
                    yield part
                    part, size, ranges = [], 0, 0
        if part:
            yield part

    def _known(self, answer: Answer) -> Answer:
        if answer in self._numbers:
            return answer
        full = len(self._numbers) >= self._most_answers
        if full or self._bytes + answer.size > self._most_bytes:
            answer = answer.without_output
        if answer not in self._numbers:
            self._numbers[answer] = len(self._numbers) + 1
            self._untold.add(answer)
            self._bytes += answer.size
        return answer
