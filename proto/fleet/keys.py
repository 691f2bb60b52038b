"""What all sides compare and look things up by: the kin of VMs, a leader's term, an assignment's
epoch.

They are tuples, because they are keys of hot dictionaries: a plan of the agent takes the hash of a
Kin a hundred times. Their fields have one order, and it is the order in which they compare.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, Self

from fleet.v1 import types_pb2 as types


class _OfKin(Protocol):
    """A message of the wire that names a kin: a Shard, a ShardReport."""

    @property
    def fleet_uid(self) -> str: ...
    @property
    def generation(self) -> int: ...
    @property
    def birth(self) -> int: ...


class Kin(NamedTuple):
    """What VMs of one group share: the mark that each of their domains and clones carries."""

    fleet_uid: str
    generation: int
    birth: int

    @classmethod
    def of(cls, message: _OfKin) -> Self:
        return cls(message.fleet_uid, message.generation, message.birth)


class Epoch(NamedTuple):
    """Which version of its assignment a host holds; a later one is greater. `revision`: the
    `mod_revision` of the assignment's key in the store."""

    store_generation: int
    revision: int

    @classmethod
    def of(cls, message: types.Epoch) -> Self:
        return cls(message.store_generation, message.revision)

    def message(self) -> types.Epoch:
        return types.Epoch(store_generation=self.store_generation, revision=self.revision)

    def __repr__(self) -> str:
        """As operators read it in sentences and logs."""
        return f"({self.store_generation}, {self.revision})"


class Term(NamedTuple):
    """Which leadership speaks; a later one is greater. `revision`: the `create_revision` of the
    leader's key in the store."""

    store_generation: int
    revision: int

    @classmethod
    def of(cls, message: types.Term) -> Self:
        return cls(message.store_generation, message.revision)

    def message(self) -> types.Term:
        return types.Term(store_generation=self.store_generation, revision=self.revision)

    def __repr__(self) -> str:
        """As operators read it in sentences and logs."""
        return f"({self.store_generation}, {self.revision})"


# Of hosts that were never assigned anything, or never heard a leader: before every other.
NO_EPOCH = Epoch(0, 0)
NO_TERM = Term(0, 0)
