"""VMs that run twice are counted from what hosts say that they run, not from what was written."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from fleet.ranges import EMPTY, IndexSet, parse_ranges
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet.wire_ranges import to_wire
from fleet_controller.core.host_loss.running_twice import Run, running_twice
from fleet_controller.core.model import Assignment, Shard
from fleet_controller.core.vm_states import BOOTING, DEFINED, RUNNING, STOPPING
from fleet_controller.observed.reports import Observed

UID, OTHER = "uid-spv", "uid-web"


def says(ranges: str, birth: int, state: int = RUNNING, uid: str = UID) -> wire.ShardReport:
    runs = [
        wire.StateRun(start=start, states=bytes([state]) * (stop - start))
        for start, stop in parse_ranges(ranges).ranges
    ]
    return wire.ShardReport(fleet_uid=uid, generation=1, birth=birth, runs=runs)


def report(observed: Observed, host: str, *shards: wire.ShardReport, full: bool = True) -> None:
    observed.reported(host, wire.Report(full=full, shards=shards), 1)


def holding(**hosts: tuple[str, int]) -> Observed:
    """By host: ranges and birth."""
    observed = Observed()
    for host, (ranges, birth) in hosts.items():
        shard = Shard(UID, parse_ranges(ranges), 1, birth)
        observed.assigned(host, Assignment((shard,)))
    return observed


def twice(observed: Observed, uid: str = UID) -> dict[str, str]:
    return {host: str(indices) for host, indices in observed.running.twice(uid).items()}


def test_two_hosts_that_run_the_same_vms_are_a_duplicate_though_both_were_assigned_them() -> None:
    observed = holding(a=("0-9", 5), b=("5-14", 7))
    report(observed, "a", says("0-9", 5))
    assert twice(observed) == {}
    report(observed, "b", says("5-14", 7))
    assert twice(observed) == {"a": "5-9"}, "the newest birth stays"


def test_two_hosts_that_run_the_same_vms_are_a_duplicate_though_neither_was_assigned_any() -> None:
    observed = Observed()
    report(observed, "a", says("0-9", 5))
    report(observed, "b", says("0-9", 4), says("0-9", 4, uid=OTHER))
    assert twice(observed) == {"b": "0-9"}
    assert twice(observed, OTHER) == {}


def test_whoever_claims_what_another_holds_is_the_one_too_many() -> None:
    observed = holding(a=("0-9", 5))
    report(observed, "a", says("0-9", 5))
    report(observed, "liar", says("0-99", 2**40))
    assert twice(observed) == {"liar": "0-9"}


@pytest.mark.parametrize(
    ("state", "counts"), [(BOOTING, True), (DEFINED, False), (STOPPING, False)]
)
def test_what_is_active_runs(state: int, counts: bool) -> None:
    observed = holding(a=("0-9", 5))
    report(observed, "a", says("0-9", 5))
    report(observed, "b", says("3", 4, state))
    assert bool(twice(observed)) is counts


def test_what_is_stopped_gone_or_no_longer_heard_runs_no_more() -> None:
    observed = holding(a=("0-9", 5))
    report(observed, "a", says("0-9", 5))
    report(observed, "b", says("0-9", 4))
    report(observed, "b", says("0-3", 4, DEFINED), full=False)
    assert twice(observed) == {"b": "4-9"}
    gone = wire.Gone(fleet_uid=UID, birth=4, ranges=to_wire(parse_ranges("4-6")))
    observed.reported("b", wire.Report(gone=[gone]), 1)
    assert twice(observed) == {"b": "7-9"}
    report(observed, "b", says("9", 4))
    assert twice(observed) == {"b": "9"}
    observed.lost_sight("b")
    assert twice(observed) == {} and not observed.running.fleets("b")


def test_who_is_one_too_many_follows_the_assignments() -> None:
    observed = holding(a=("0-9", 5))
    report(observed, "a", says("0-9", 5))
    report(observed, "b", says("0-9", 4))
    assert twice(observed) == {"b": "0-9"}
    observed.assigned("a", Assignment())
    assert twice(observed) == {"b": "0-9"}, "the newest birth"
    observed.assigned("b", Assignment((Shard(UID, parse_ranges("0-9"), 1, 4),)))
    assert twice(observed) == {"a": "0-9"}


def test_what_is_staged_is_still_another_s() -> None:
    observed = holding(a=("0-9", 5))
    observed.assigned("b", Assignment((Shard(UID, parse_ranges("0-9"), 1, 7, staged=True),)))
    report(observed, "a", says("0-9", 5))
    report(observed, "b", says("0-9", 7, DEFINED))
    assert twice(observed) == {}


def test_a_million_vms_are_looked_at_by_ranges() -> None:
    hosts = 4_480
    runs = [Run(f"h{n}", n, IndexSet.span(n * 250, n * 250 + 250)) for n in range(hosts)]
    held: Mapping[str, IndexSet] = {run.host: run.indices for run in runs}
    assert running_twice(runs, held.__getitem__) == {}
    late = Run("liar", 0, IndexSet.span(0, 250 * hosts))
    found = running_twice([*runs, late], lambda host: held.get(host, EMPTY))
    assert found == {"liar": late.indices}


def test_states_of_types_are_those_counted() -> None:
    assert (RUNNING, BOOTING) == (types.VM_STATE_RUNNING, types.VM_STATE_BOOTING)
