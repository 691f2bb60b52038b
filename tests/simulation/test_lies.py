"""There is a lie of each field that a report has."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from tests.simulation.doubles.lies.table import LIES
from tests.simulation.doubles.tongue import Knowledge

# Of the messages that only hosts write. What is in the others was told to the host, or is of facts,
# which have lies of their own when they are announced.
OURS = ("Report", "ShardReport", "StateRun", "Gone", "Problem", "FailedRange", "Orphans")


def fields(of: Descriptor) -> Iterator[str]:
    for field in of.fields:
        yield f"{of.name}.{field.name}"
        inner = field.message_type
        if inner is not None and inner.name in OURS:
            yield from fields(inner)


def said(message: Message) -> Iterator[tuple[str, object]]:
    """Each field that is set anywhere in the message, with what it says."""
    name = message.DESCRIPTOR.name
    for field, value in message.ListFields():
        yield f"{name}.{field.name}", str(value)
        inner = field.message_type
        if inner is not None and inner.name in OURS:
            for one in value if field.is_repeated else (value,):
                yield from said(one)


def honest() -> wire.Report:
    run = wire.StateRun(start=0, states=bytes((5, 5)))
    return wire.Report(
        sequence=3, full=True, epoch=types.Epoch(store_generation=1, revision=9),
        shards=[wire.ShardReport(fleet_uid="u", generation=1, birth=5, runs=[run])],
    )  # fmt: skip


def test_a_lie_is_told_in_each_field_of_a_report() -> None:
    span = types.IndexRange(start=0, stop=2)
    shard = types.Shard(fleet_uid="u", generation=1, birth=5, ranges=[span])
    orders = wire.AssignRequest(assignment=types.Assignment(shards=[shard]))
    orders.term.seal = orders.epoch.seal = b"of this store"
    lied: set[str] = set()
    for lie in LIES.values():
        know = Knowledge("h1", Random(1), orders, {"u": 8}, ("h2:1",))
        truth = set(said(honest()))
        for report in lie.reports(know, honest()):
            lied |= {field for field, _ in set(said(report)) ^ truth}
    assert not set(fields(wire.Report.DESCRIPTOR)) - lied
