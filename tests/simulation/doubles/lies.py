"""The lies that a hostile host may tell: each field of each message, too many of them, too large
ones, silence, and orders that are answered and not obeyed.

`LIES` has all; `TOLD_TODAY` those that hurt nobody else as the product is, which is what plays draw
from. A lie that is not among them is one that the product does not stand yet, or that nobody looks
at: `WITHSTOOD_NOT_YET` says of each what it does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import grpc

from fleet.term_claims import term_metadata
from fleet.transport import Refusal
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet_controller.agents import port
from tests.simulation.doubles.tongue import Knowledge, Saying

MOST = 2**32 - 1
FLOOD = 400  # reports for each honest one
ANNOUNCEMENTS = 200  # at once
MANY = 5_000  # ranges, ids: a hundred times what a simulated host can have
LONG = 100_000  # characters
ODD = "\x1b[31m\nh999 \N{RIGHT-TO-LEFT OVERRIDE}lost"


def _same(know: Knowledge, report: wire.Report) -> list[wire.Report]:
    return [report]


def _nothing(know: Knowledge) -> None:
    return None


def _passed_on(know: Knowledge, request: wire.AssignRequest) -> None:
    return None


def _described(know: Knowledge) -> bool:
    return True


def _one(know: Knowledge, saying: Saying) -> list[Saying]:
    return [saying]


@dataclass(frozen=True, slots=True)
class Told:
    """A Lie. `named`: whoever reads what the leader says is to find the host's name there, while it
    tells this: what it says can be seen to be wrong."""

    name: str
    reports: Callable[[Knowledge, wire.Report], list[wire.Report]] = _same
    watch_refused: Callable[[Knowledge], Exception | None] = _nothing
    assigned: Callable[[Knowledge, wire.AssignRequest], wire.AssignResponse | Exception | None] = (
        _passed_on
    )
    describes: Callable[[Knowledge], bool] = _described
    announces: Callable[[Knowledge, Saying], list[Saying]] = _one
    named: bool = False


# ---- reports, field by field ----------------------------------------------------------------


def _changed(change: Callable[[Knowledge, wire.Report], None]) -> Callable[..., list[wire.Report]]:
    def told(know: Knowledge, report: wire.Report) -> list[wire.Report]:
        change(know, report)
        return [report]

    return told


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


# ---- too many, too large, too little ---------------------------------------------------------


def _flood(know: Knowledge, report: wire.Report) -> list[wire.Report]:
    """The same over and over, with numbers that follow."""
    first = (min(report.sequence, 2**32) - 1) * FLOOD + 1 if report.sequence else 0
    said = []
    for number in range(first, first + FLOOD):
        again = wire.Report()
        again.CopyFrom(report)
        again.sequence = number
        said.append(again)
    return said


def _many_ranges(know: Knowledge, report: wire.Report) -> None:
    report.orphans_set = True
    spans = [types.IndexRange(start=2 * n, stop=2 * n + 1) for n in range(MANY)]
    report.orphans.append(wire.Orphans(fleet_uid=know.host, birth=1, ranges=spans))


def _many_released(know: Knowledge, report: wire.Report) -> None:
    first = know.random.randrange(2**50)
    report.released.extend(range(first, first + MANY))


def _long_problems(know: Knowledge, report: wire.Report) -> None:
    report.problems_set = True
    text = "x" * LONG
    report.problems.extend(wire.Problem(kind=text, example_message=text) for _ in range(20))


def _silent(know: Knowledge, report: wire.Report) -> list[wire.Report]:
    return [report] if report.full else []


def _says_nothing(know: Knowledge, report: wire.Report) -> list[wire.Report]:
    return []


# ---- refusals and answers --------------------------------------------------------------------


def _stale_term(know: Knowledge) -> Exception:
    """Of a term that nobody has led in, under the seal of one that somebody has."""
    sentence = f"{know.host}: has heard a leader of term (9, 9) {ODD}"
    heard = types.Term(store_generation=9, revision=9, seal=know.orders.term.seal)
    answer = Refusal(
        grpc.StatusCode.FAILED_PRECONDITION, "STALE_TERM", sentence, term_metadata(heard)
    )
    return port.StaleTerm(sentence, answer)


def _declines_to_report(know: Knowledge) -> Exception:
    return port.Declined(f"{know.host}: its ledger is full {ODD}")


def _stale_term_on_assign(know: Knowledge, request: wire.AssignRequest) -> Exception:
    return _stale_term(know)


def _ahead(know: Knowledge, request: wire.AssignRequest) -> Exception:
    return port.AheadOfStore(f"{know.host}: holds epoch (2^64-1, 2^63-1) {ODD}")


def _done_in_words(know: Knowledge, request: wire.AssignRequest) -> wire.AssignResponse:
    """It says yes, and its agent has never heard of it."""
    return wire.AssignResponse(epoch=request.epoch)


def _another_epoch(know: Knowledge, request: wire.AssignRequest) -> wire.AssignResponse:
    return wire.AssignResponse(
        epoch=types.Epoch(store_generation=2**64 - 1, revision=2**63 - 1)
    )  # fmt: skip


def _is_not_there(know: Knowledge) -> bool:
    return False


# ---- announcements ---------------------------------------------------------------------------


def _told(change: Callable[[Knowledge, Saying], None]) -> Callable[..., list[Saying]]:
    def told(know: Knowledge, saying: Saying) -> list[Saying]:
        change(know, saying)
        return [saying]

    return told


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


def _large_announcement(know: Knowledge, saying: Saying) -> None:
    saying.facts.hypervisor = "x" * LONG
    for number in range(2_000):
        saying.facts.labels[f"label-{number}"] = "y" * 200


def _many_announcements(know: Knowledge, saying: Saying) -> list[Saying]:
    """Each says something else, so that each is worth a write."""
    said = []
    for _ in range(ANNOUNCEMENTS):
        facts = types.HostFacts()
        facts.CopyFrom(saying.facts)
        facts.agent_version = f"v{know.random.randrange(10**9)}"
        said.append(Saying(saying.address, facts))
    return said


LIES: Mapping[str, Told] = {
    lie.name: lie
    for lie in (
        Told("sequence", _changed(_sequence), named=True),
        Told("full", _changed(_full)),
        Told("epoch ahead", _changed(_epoch_ahead), named=True),
        Told("epoch behind", _changed(_epoch_behind)),
        Told("states", _changed(_states)),
        Told("others' states", _changed(_others_states)),
        Told("gone", _changed(_gone)),
        Told("nonsense", _changed(_nonsense), named=True),
        Told("problems", _changed(_problems)),
        Told("failed", _changed(_failed)),
        Told("all failed", _changed(_all_failed)),
        Told("released", _changed(_released)),
        Told("few orphans", _changed(_few_orphans)),
        Told("orphans of others", _changed(_orphans_of_others), named=True),
        Told("converged", _changed(_converged)),
        Told("facts", _changed(_facts)),
        Told("awaits assign", _changed(_awaits)),
        Told("orders refused", _changed(_orders_refused)),
        Told("boots", _changed(_boots)),
        Told("fallbacks", _changed(_fallbacks)),
        Told("for observers", _changed(_recovered_words)),
        Told("flood", _flood, named=True),
        Told("many ranges", _changed(_many_ranges), named=True),
        Told("many released", _changed(_many_released), named=True),
        Told("long problems", _changed(_long_problems), named=True),
        Told("silent after the first", _silent, named=True),
        Told("silent", _says_nothing, named=True),
        Told("not there", _says_nothing, describes=_is_not_there, named=True),
        Told("stale term", watch_refused=_stale_term, named=True),
        Told("stale term on assign", assigned=_stale_term_on_assign),
        Told("declines to report", watch_refused=_declines_to_report, named=True),
        Told("ahead of the store", assigned=_ahead),
        Told("obeys in words", assigned=_done_in_words),
        Told("answers another epoch", assigned=_another_epoch),
        Told("another's address", announces=_told(_others_address)),
        Told("no address", announces=_told(_no_address)),
        Told("greatest capacity", announces=_told(_greatest_capacity), named=True),
        Told("no capacity", announces=_told(_no_capacity)),
        Told("labels", announces=_told(_labels)),
        Told("identity", announces=_told(_identity)),
        Told("has everything", announces=_told(_has_everything)),
        Told("has nothing", announces=_told(_has_nothing)),
        Told("odd holdings", announces=_told(_odd_holdings)),
        Told("many holdings", announces=_told(_many_holdings)),
        Told("other programs", announces=_told(_other_programs)),
        Told("large announcement", announces=_told(_large_announcement)),
        Told("many announcements", announces=_many_announcements),
    )
}
# What becomes of the others while a host tells these; each is taken out of here once the product
# stands it, and plays tell it from then on.
WITHSTOOD_NOT_YET: Mapping[str, str] = {}
TOLD_TODAY: tuple[str, ...] = tuple(name for name in LIES if name not in WITHSTOOD_NOT_YET)
# Of those that are told, what is not told while hosts are asked what a recovery is to be made of.
NOT_IN_RECOVERIES: Mapping[str, str] = {}
