"""Lies in one field of a report, or of an announcement."""

from __future__ import annotations

from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from tests.simulation.doubles.lies.told import (
    LONG,
    MANY,
    MOST,
    ODD,
    Told,
    changed_announcement,
    changed_report,
)
from tests.simulation.doubles.tongue import Knowledge, Saying

# ---- reports ---------------------------------------------------------------------------------


def _sequence(know: Knowledge, report: wire.Report) -> None:
    report.sequence = know.random.choice((0, report.sequence // 2, 2**64 - 1))


def _full(know: Knowledge, report: wire.Report) -> None:
    """All is new, again and again; or nothing ever was."""
    report.full = not report.full


def _epoch_ahead(know: Knowledge, report: wire.Report) -> None:
    """Under the seal of an older one, or of something else."""
    report.epoch.seal = know.random.choice((know.orders.epoch.seal, know.orders.term.seal, b""))
    report.epoch.store_generation = know.random.choice((report.epoch.store_generation, 2**64 - 1))
    report.epoch.revision = 2**63 - 1


def _epoch_behind(know: Knowledge, report: wire.Report) -> None:
    report.epoch.store_generation, report.epoch.revision = know.random.choice(
        ((0, 0), (1, 0), (1, 1), (1, -(2**63)), (0, 2**63 - 1))
    )


def _states(know: Knowledge, report: wire.Report) -> None:
    """States that are none, of all that it has."""
    for shard in report.shards:
        for run in shard.runs:
            run.states = know.random.randbytes(len(run.states))


def _others_states(know: Knowledge, report: wire.Report) -> None:
    """Of other hosts' VMs, and of none that can be: they run, or have failed."""
    state = bytes((know.random.choice((0, 5, 7, 255)),))
    for uid, total in know.totals.items():
        for birth in (0, 1, 2**63 - 1):
            run = wire.StateRun(start=know.random.choice((0, MOST)), states=state * min(total, 500))
            report.shards.append(
                wire.ShardReport(fleet_uid=uid, generation=1, birth=birth, runs=[run])
            )
    report.shards.append(wire.ShardReport(fleet_uid=ODD, generation=MOST, birth=-1))


def _gone(know: Knowledge, report: wire.Report) -> None:
    spans = [types.IndexRange(start=0, stop=MOST)]
    report.gone.append(wire.Gone(fleet_uid=know.fleet(), birth=2**63 - 1, ranges=spans))


def _nonsense(know: Knowledge, report: wire.Report) -> None:
    """A range that ends before it begins."""
    backwards = [types.IndexRange(start=9, stop=3)]
    report.orphans_set = True
    report.orphans.append(wire.Orphans(fleet_uid=know.fleet(), birth=1, ranges=backwards))


def _problems(know: Knowledge, report: wire.Report) -> None:
    report.problems_set = True
    report.problems.append(
        wire.Problem(
            kind=know.random.choice(("", ODD, "no_memory")), fleet_uid=know.fleet(), count=MOST,
            example_index=MOST, example_message=ODD,
        )
    )  # fmt: skip


def _failed(know: Knowledge, report: wire.Report) -> None:
    """Others' VMs have failed since before there were any, for good, and backwards."""
    report.problems_set = True
    uid = know.fleet()
    for start, stop, since in ((0, MOST, 1), (9, 3, 2**62), (0, 8, -(2**63)), (2, 5, 1)):
        told = know.random.choice(list(report.problems) or [report.problems.add(kind="busy")])
        told.fleet_uid, told.lasting = uid, know.random.random() < 0.7
        told.failed.add(start=start, stop=stop, since_unix=since)


def _all_failed(know: Knowledge, report: wire.Report) -> None:
    """All that it has, for good, while its agent does what it is told."""
    report.problems_set = True
    del report.problems[:]
    for shard in know.orders.assignment.shards:
        spans = [
            wire.FailedRange(start=one.start, stop=one.stop, since_unix=2**40)
            for one in shard.ranges
        ]
        report.problems.add(
            kind="image_missing", fleet_uid=shard.fleet_uid, count=MOST, failed=spans, lasting=True
        )
    for told in report.shards:
        for run in told.runs:
            run.states = bytes((types.VM_STATE_FAILED,)) * len(run.states)


def _released(know: Knowledge, report: wire.Report) -> None:
    """Everything it was to let go, at once, and what nobody asked of it."""
    stones = know.orders.assignment.tombstones
    report.released.extend([*(stone.id for stone in stones), -1, 0, 2**63 - 1])


def _few_orphans(know: Knowledge, report: wire.Report) -> None:
    """Of a fleet that never was: what a host like it could have."""
    report.orphans_set = True
    spans = [types.IndexRange(start=0, stop=5)]
    report.orphans.append(wire.Orphans(fleet_uid=know.host, birth=1, ranges=spans))


def _orphans_of_others(know: Knowledge, report: wire.Report) -> None:
    """All that any fleet may ever have."""
    report.orphans_set = True
    for uid in know.totals:
        spans = [types.IndexRange(start=0, stop=MOST)]
        report.orphans.append(wire.Orphans(fleet_uid=uid, birth=1, ranges=spans))


def _converged(know: Knowledge, report: wire.Report) -> None:
    report.converged = not report.converged


def _facts(know: Knowledge, report: wire.Report) -> None:
    report.facts.boot_id = ODD
    report.facts.incarnation = "another"
    report.facts.capacity.guests = MOST
    report.facts.labels["rack"] = ODD


def _awaits(know: Knowledge, report: wire.Report) -> None:
    report.awaits_assign = not report.awaits_assign


def _boots(know: Knowledge, report: wire.Report) -> None:
    """More than it can have, in more buckets than there are, in no time that there is."""
    report.boots.extend([MOST] * know.random.choice((1, 13, MANY)))
    report.boot_seconds = know.random.choice((float("nan"), float("inf"), -1.0, 1e300))


def _fallbacks(know: Knowledge, report: wire.Report) -> None:
    """All VMs of all fleets were begun otherwise, for no reason and for very long ones."""
    report.fallbacks_set = True
    spans = [types.IndexRange(start=0, stop=MOST)]
    for uid in (know.fleet(), know.host, ""):
        for why in ("", ODD, "x" * LONG, "there was no room"):
            report.fallbacks.append(wire.Fallback(fleet_uid=uid, ranges=spans, why=why))


def _orders_refused(know: Knowledge, report: wire.Report) -> None:
    """It takes them all the same."""
    report.orders_refused = ODD * know.random.choice((1, 1000))


def _recovered_words(know: Knowledge, report: wire.Report) -> None:
    """What only observers read."""
    report.term.store_generation, report.term.revision = 2**64 - 1, 2**63 - 1
    report.fleets.append(types.FleetIdentity(uid=know.fleet(), name="spv", number=4095, site=15))
    report.specs.append(types.GenerationSpec(fleet_uid=know.fleet(), generation=1))
    spans = [types.IndexRange(start=0, stop=200)]
    forged = types.Shard(fleet_uid=know.fleet(), generation=1, birth=2**40, ranges=spans)
    report.assignment = types.Assignment(shards=[forged]).SerializeToString()
    report.assignment_seal = know.orders.term.seal


# ---- announcements ---------------------------------------------------------------------------


def _others_address(know: Knowledge, saying: Saying) -> None:
    saying.address = know.random.choice(list(know.addresses) or [saying.address])


def _no_address(know: Knowledge, saying: Saying) -> None:
    saying.address = know.random.choice(("", ODD, "h999:0", "[::1]:99999", "a" * LONG))


def _greatest_capacity(know: Knowledge, saying: Saying) -> None:
    saying.facts.capacity.guests = MOST
    saying.facts.capacity.memory_bytes = 2**64 - 1
    saying.facts.capacity.boots = 2**32 - 1


def _no_capacity(know: Knowledge, saying: Saying) -> None:
    saying.facts.capacity.guests = 0


def _labels(know: Knowledge, saying: Saying) -> None:
    """A rack of its own, and labels that are none."""
    saying.facts.labels["rack"] = "of-its-own"
    saying.facts.labels[ODD] = ODD


def _identity(know: Knowledge, saying: Saying) -> None:
    saying.facts.incarnation = f"other-{know.random.random()}"
    saying.facts.boot_id, saying.facts.machine_id = ODD, ODD


def _has_everything(know: Knowledge, saying: Saying) -> None:
    """Images of every name, kernels and bridges that it has not: VMs come, and fail."""
    facts = saying.facts
    facts.images.images.add(name="golden", snapshot="1", digest=f"sha256:{'0' * 64}")
    facts.kernels.folders.append("/boot")
    facts.kernels.files.append("/boot/kernel")
    facts.bridges.names.append("br0")
    facts.images.more = facts.bridges.more = know.random.choice((True, False))
    facts.gives_images = True
    facts.clones.possible, facts.clones.most = True, 2**32 - 1


def _has_nothing(know: Knowledge, saying: Saying) -> None:
    """It has VMs all the same, and others come where it could fetch what it lacks."""
    saying.facts.images.SetInParent()
    saying.facts.fetches_images = True
    saying.facts.kernels.folders.append("/")
    saying.facts.bridges.SetInParent()
    saying.facts.clones.SetInParent()


def _odd_holdings(know: Knowledge, saying: Saying) -> None:
    """What no fleet can name."""
    saying.facts.images.images.add(name=ODD, snapshot="../..", digest="x" * LONG)
    saying.facts.kernels.folders.extend((ODD, "", "x" * LONG))
    saying.facts.kernels.files.append(f"/boot/{ODD}")
    saying.facts.bridges.names.extend((ODD, "a" * LONG))


def _many_holdings(know: Knowledge, saying: Saying) -> None:
    for number in range(MANY):
        saying.facts.images.images.add(name=f"i{number}", snapshot="1")
        saying.facts.kernels.files.append(f"/boot/k{number}")
        saying.facts.bridges.names.append(f"br{number}")


def _other_programs(know: Knowledge, saying: Saying) -> None:
    """What only people read, and a certificate that ended long ago, or never will."""
    saying.facts.hypervisor, saying.facts.storage, saying.facts.agent_version = ODD, ODD, ODD
    saying.facts.upgrades = bool(know.random.getrandbits(1))
    saying.facts.certificate_expires_unix = know.random.choice((-(2**63), 1, 2**63 - 1))
    saying.facts.trust.authorities.extend(know.random.randbytes(48) for _ in range(200))
    saying.facts.trust.issuing = know.random.randbytes(LONG)
    saying.facts.trust.spread_seconds = 2**32 - 1


REPORT_FIELDS: tuple[Told, ...] = (
    Told("sequence", changed_report(_sequence), named=True),
    Told("full", changed_report(_full)),
    Told("epoch ahead", changed_report(_epoch_ahead), named=True),
    Told("epoch behind", changed_report(_epoch_behind)),
    Told("states", changed_report(_states)),
    Told("others' states", changed_report(_others_states)),
    Told("gone", changed_report(_gone)),
    Told("nonsense", changed_report(_nonsense), named=True),
    Told("problems", changed_report(_problems)),
    Told("failed", changed_report(_failed)),
    Told("all failed", changed_report(_all_failed)),
    Told("released", changed_report(_released)),
    Told("few orphans", changed_report(_few_orphans)),
    Told("orphans of others", changed_report(_orphans_of_others), named=True),
    Told("converged", changed_report(_converged)),
    Told("facts", changed_report(_facts)),
    Told("awaits assign", changed_report(_awaits)),
    Told("orders refused", changed_report(_orders_refused)),
    Told("boots", changed_report(_boots)),
    Told("fallbacks", changed_report(_fallbacks)),
    Told("for observers", changed_report(_recovered_words)),
)


ANNOUNCEMENT_FIELDS: tuple[Told, ...] = (
    Told("another's address", announces=changed_announcement(_others_address)),
    Told("no address", announces=changed_announcement(_no_address)),
    Told(
        "greatest capacity",
        announces=changed_announcement(_greatest_capacity),
        named=True,
        hidden_by="no capacity",
    ),
    Told("no capacity", announces=changed_announcement(_no_capacity)),
    Told("labels", announces=changed_announcement(_labels)),
    Told("identity", announces=changed_announcement(_identity)),
    Told("has everything", announces=changed_announcement(_has_everything)),
    Told("has nothing", announces=changed_announcement(_has_nothing)),
    Told("odd holdings", announces=changed_announcement(_odd_holdings)),
    Told("many holdings", announces=changed_announcement(_many_holdings)),
    Told("other programs", announces=changed_announcement(_other_programs)),
)
