"""A host's problems as a report tells them: counted by kind, one example for the rest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fleet.keys import NO_EPOCH, Kin
from fleet.ranges import EMPTY, IndexSet
from fleet.v1 import agent_pb2 as wire
from fleet.wire_ranges import to_wire
from fleet_agent.core.model import SUSPENDED
from fleet_agent.core.plan.plan import Plan
from fleet_agent.core.plan.snapshot import Snapshot
from fleet_agent.reconcile.failing_since import FailingSince
from fleet_agent.reconcile.failures import Amiss, VmFailures
from fleet_agent.reconcile.fencing import FencedAssignment

# Why VMs of one fleet were begun in another way: so many reasons are told apart, in so many
# characters.
MOST_WHYS, LONGEST_WHY = 8, 256


def amiss_of(made: Plan, snapshot: Snapshot, failures: VmFailures) -> list[Amiss]:
    """Names that are taken, templates that cannot be carried out, VMs that somebody has suspended,
    and those whose last step failed and that are not as wanted."""
    taken = "a VM of this name exists here and is not to be touched"
    conflicts = [
        Amiss("conflict", kin, indices, taken, lasting=True)
        for kin, indices in made.conflicts.items()
    ]
    bad_specs = [
        Amiss(
            "bad_spec",
            kin,
            refused.indices,
            f"generation {kin.generation} cannot be carried out: {refused.why}",
            lasting=True,
        )
        for kin, refused in made.bad_specs.items()
    ]
    suspended = [
        Amiss(SUSPENDED, kin, indices, snapshot.why_stalled(kin, indices.first), lasting=True)
        for kin, indices in made.suspended.items()
    ]
    # What has failed before somebody suspended it waits for that as well.
    unmet = {kin: indices - made.suspended.get(kin, EMPTY) for kin, indices in made.unmet.items()}
    return [*conflicts, *bad_specs, *suspended, *failures.amiss(unmet)]


def failing_of(amiss: Iterable[Amiss]) -> dict[Kin, IndexSet]:
    found: dict[Kin, IndexSet] = {}
    for one in amiss:
        found[one.kin] = found.get(one.kin, EMPTY) | one.indices
    return found


def problems_of(amiss: Iterable[Amiss], since: FailingSince) -> list[wire.Problem]:
    """One for each kind and fleet."""
    found: dict[tuple[str, str], list[Amiss]] = {}
    for one in amiss:
        found.setdefault((one.kind, one.kin.fleet_uid), []).append(one)
    return [_problem(alike, since) for alike in found.values()]


def _problem(alike: Sequence[Amiss], since: FailingSince) -> wire.Problem:
    """Of one kind and one fleet. An index that two births have is told once."""
    example = min(alike, key=lambda one: one.indices.first)
    ranges: list[tuple[int, int, int]] = []
    told = EMPTY
    for one in alike:
        ranges += since.ranges(one.kin, one.indices - told)
        told = told | one.indices
    return wire.Problem(
        kind=example.kind,
        fleet_uid=example.kin.fleet_uid,
        count=sum(len(one.indices) for one in alike),
        example_index=example.indices.first,
        example_message=_sayable(example.message),
        failed=[
            wire.FailedRange(start=start, stop=stop, since_unix=begun)
            for start, stop, begun in sorted(ranges)
        ],
        lasting=all(one.lasting for one in alike),
    )


def fallbacks_of(snapshot: Snapshot) -> list[wire.Fallback]:
    """VMs begun in another way than their fleets ask for. Of very many reasons, the last tells for
    all that follow: each is another number of MiB."""
    found: list[wire.Fallback] = []
    for uid, by_why in sorted(snapshot.fallbacks.items()):
        whys = sorted(by_why)
        apart, alike = whys[: MOST_WHYS - 1], whys[MOST_WHYS - 1 :]
        groups = [[why] for why in apart] + ([alike] if alike else [])
        for group in groups:
            indices = IndexSet.union_of(by_why[why] for why in group)
            why = _sayable(group[0])[:LONGEST_WHY]
            found.append(wire.Fallback(fleet_uid=uid, ranges=to_wire(indices), why=why))
    return found


def ledger_problems(fenced: FencedAssignment) -> list[wire.Problem]:
    """An older ledger that was put back."""
    if fenced.older_than == NO_EPOCH:
        return []
    message = (
        f"the agent's ledger is of epoch {fenced.record.epoch}, and what exists was made under "
        f"{fenced.older_than}: an older ledger was put back. Nothing is started, made or removed "
        "before a controller assigns anew"
    )
    return [wire.Problem(kind="old_ledger", count=1, example_message=message)]


def driver_problem(error: BaseException) -> wire.Problem:
    """A driver that cannot work at all."""
    return wire.Problem(kind="driver", count=1, example_message=_sayable(str(error)))


def _sayable(message: str) -> str:
    """Drivers tell what others said: it may hold what no message on the wire can."""
    return message.encode("utf-8", "backslashreplace").decode()
