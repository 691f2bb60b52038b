"""A report as far as its host can be right: bounded by what that host may have.

A host is believed about itself alone. What it says beyond what it may have makes the whole report
void, and the host misbehaves; what names nothing that concerns it is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass

from fleet.keys import Kin
from fleet.v1 import agent_pb2 as wire
from fleet_controller.core.host_claims import MOST_GUESTS, ORDINARY_GUESTS
from fleet_controller.core.model import Assignment
from fleet_controller.core.names import one_line
from fleet_controller.observed.failures import are_fit

# Of one report: problems kept, kinds of them, those of the host as a whole, and characters of a
# text that is kept. Agents know some two dozen kinds, one of them of the host as a whole.
MOST_PROBLEMS = 256
MOST_KINDS = 40
MOST_WIDE = 8
MOST_TEXT = 300
# Reasons why VMs were begun otherwise, of all fleets: an agent tells eight of one.
MOST_FALLBACKS = 256
_MOST_NAME = 255
_KIND = re.compile(r"[a-z][a-z0-9_]{0,39}")
# A report without VMs: problems with their texts, facts, and to observers the specs of fleets.
_BYTES_ALWAYS = 128 * 1024
# The most that a report says of one VM: a shard of its own with a run, and a range elsewhere.
_BYTES_EACH = 96


class Misbehaves(ValueError):
    """A host says what no honest one of its size can. One sentence without its name."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a host may have. `guests`: VMs that nobody has told it of. `vms`: all that it may name
    at once. `fleets`: uids of fleets that it was told of, and `kins` what it holds of them; None:
    any, where what it was told is in doubt. `tombstones`: ids of those that it was told of.
    `spec_bytes`: of the specs that it may hand back to an observer."""

    guests: int
    vms: int
    fleets: Set[str] | None
    kins: Set[Kin] | None
    tombstones: Set[int]
    spec_bytes: int = 0

    @property
    def most_bytes(self) -> int:
        """Of one report."""
        return bytes_for(self.vms) + self.spec_bytes


def bytes_for(vms: int) -> int:
    """The most that an honest report of so many VMs takes on the wire."""
    return _BYTES_ALWAYS + _BYTES_EACH * vms


# The specs in an assignment, as an observer gets them: by themselves, and in the sealed bytes of
# the assignment. So much of them where nobody knows what a host was told, and at most.
_SPECS_TWICE = 2
_SPECS_UNKNOWN = 512 * 1024
_SPECS_MOST = 4 * 1024 * 1024

# Of a host of the largest size that is believed: some 5 MiB. A channel to a host reads no more.
MOST_REPORT_BYTES = bytes_for(MOST_GUESTS) + _SPECS_MOST


def allowance_of(
    assignment: Assignment, guests: int, *, any_fleet: bool = False, spec_bytes: int = 0
) -> Allowance:
    """For a host with this assignment, which admits so many guests. A capacity may have shrunk
    since VMs came to the host, so that an ordinary number of them is believed of any.
    `spec_bytes`: of the specs that it was told."""
    told = sum(len(shard.ranges) for shard in assignment.shards)
    told += sum(len(tombstone.ranges) for tombstone in assignment.tombstones)
    room = max(guests, ORDINARY_GUESTS, told)
    fleets = {shard.fleet for shard in assignment.shards}
    fleets |= {tombstone.fleet for tombstone in assignment.tombstones}
    # A VM that is made anew is named twice: as what goes, and as what comes.
    return Allowance(
        room,
        2 * (room + told),
        None if any_fleet else fleets,
        None if any_fleet else {shard.kin for shard in assignment.shards},
        {tombstone.id for tombstone in assignment.tombstones},
        min(_SPECS_MOST, _SPECS_TWICE * spec_bytes + (_SPECS_UNKNOWN if any_fleet else 0)),
    )


def bounded(report: wire.Report, allowance: Allowance) -> wire.Report:
    """The report without what concerns the host in nothing; the same one where all of it does.
    Raises Misbehaves."""
    _check("bytes", report.ByteSize(), allowance.most_bytes)
    if _is_heartbeat(report):
        return report
    _check_size(report, allowance)
    _check_orphans(report, allowance)
    if _is_fit(report, allowance):
        return report
    kept = wire.Report()
    kept.CopyFrom(report)
    _cut(kept, report, allowance)
    return kept


def _is_heartbeat(report: wire.Report) -> bool:
    """Most reports say that nothing is otherwise."""
    return not (
        report.shards
        or report.problems
        or report.released
        or report.gone
        or report.orphans
        or report.fallbacks
        or report.fleets
        or report.specs
        or report.HasField("facts")
    )


def _check_size(report: wire.Report, allowance: Allowance) -> None:
    parts = max(len(report.shards), len(report.gone), len(report.orphans))
    _check("kinds of VMs", parts, allowance.vms)
    _check("problems", len(report.problems), MOST_PROBLEMS + allowance.vms)
    failed = sum(len(problem.failed) for problem in report.problems)
    _check("ranges of VMs that failed", failed, allowance.vms)
    named = runs = 0
    for shard in report.shards:
        runs += len(shard.runs) or 1
        if runs > allowance.vms:
            break
        named += sum(len(run.states) for run in shard.runs)
    _check("VMs", max(named, runs), allowance.vms)
    ranges = sum(len(gone.ranges) or 1 for gone in report.gone)
    _check("ranges of VMs that are gone", ranges, allowance.vms)
    _check("released ids", len(report.released), allowance.vms)
    otherwise = sum(len(one.ranges) or 1 for one in report.fallbacks)
    _check("ranges of VMs begun otherwise", otherwise, allowance.vms)
    _check("fleets", len(report.fleets) + len(report.specs), allowance.vms)


def _check_orphans(report: wire.Report, allowance: Allowance) -> None:
    if not report.orphans:
        return
    ranges = sum(len(one.ranges) or 1 for one in report.orphans)
    _check("ranges of orphans", ranges, allowance.guests)
    count = sum(max(0, r.stop - r.start) for one in report.orphans for r in one.ranges)
    _check("orphans", count, allowance.guests)


def _check(what: str, count: int, most: int) -> None:
    if count > most:
        raise Misbehaves(f"reports {count:,} {what}; it can have {most:,}")


def _is_fit(report: wire.Report, allowance: Allowance) -> bool:
    """Whether all of it is taken as it stands."""
    return (
        all(_is_held(shard, allowance) for shard in report.shards)
        and all(id in allowance.tombstones for id in report.released)
        and _are_fit_problems(report.problems, allowance)
        and all(_is_text(one.fleet_uid, _MOST_NAME) for one in report.orphans)
        and len(report.fallbacks) <= MOST_FALLBACKS
        and all(_is_fit_fallback(one, allowance) for one in report.fallbacks)
        and _is_text(report.facts.boot_id, _MOST_NAME)
    )


def _concerns(uid: str, allowance: Allowance) -> bool:
    if allowance.fleets is None:
        return _is_text(uid, _MOST_NAME)
    return uid in allowance.fleets


def _is_held(shard: wire.ShardReport, allowance: Allowance) -> bool:
    """States of what a host lets go of change nothing that is kept of it."""
    if allowance.kins is None:
        return _is_text(shard.fleet_uid, _MOST_NAME)
    return Kin.of(shard) in allowance.kins


def _is_wanted(problem: wire.Problem, allowance: Allowance) -> bool:
    """Of the host as a whole, or of a fleet that it was told of."""
    wide = not problem.fleet_uid
    return bool(_KIND.fullmatch(problem.kind)) and (wide or _concerns(problem.fleet_uid, allowance))


def _are_fit_problems(problems: Sequence[wire.Problem], allowance: Allowance) -> bool:
    if not problems:
        return True
    if len(problems) > MOST_WIDE or not all(_is_fit_problem(one, allowance) for one in problems):
        return False
    return len({(one.kind, one.fleet_uid) for one in problems}) == len(problems)


def _is_fit_problem(problem: wire.Problem, allowance: Allowance) -> bool:
    return (
        _is_wanted(problem, allowance)
        and problem.count <= allowance.vms
        and _is_text(problem.example_message, MOST_TEXT)
        and are_fit(problem.failed, allowance.vms)
    )


def _is_fit_fallback(fallback: wire.Fallback, allowance: Allowance) -> bool:
    """Of a fleet that it was told of, in words. Its ranges are checked by who reads them."""
    return (
        _concerns(fallback.fleet_uid, allowance)
        and bool(fallback.why)
        and _is_text(fallback.why, MOST_TEXT)
    )


def _is_text(text: str, most: int) -> bool:
    return len(text) <= most and text.isprintable()


def _cut(kept: wire.Report, report: wire.Report, allowance: Allowance) -> None:
    """Leave in `kept`, a copy of the report, what concerns the host."""
    del kept.shards[:], kept.released[:], kept.problems[:], kept.orphans[:]
    kept.shards.extend(one for one in report.shards if _is_held(one, allowance))
    kept.released.extend(one for one in report.released if one in allowance.tombstones)
    kept.orphans.extend(one for one in report.orphans if _is_text(one.fleet_uid, _MOST_NAME))
    kept.problems.extend(_cut_problems(report.problems, allowance))
    fit = [one for one in report.fallbacks if _is_fit_fallback(one, allowance)]
    del kept.fallbacks[:]
    kept.fallbacks.extend(fit[:MOST_FALLBACKS])
    if not _is_text(report.facts.boot_id, _MOST_NAME):
        kept.facts.boot_id = one_line(report.facts.boot_id, _MOST_NAME)


def _cut_problems(problems: Iterable[wire.Problem], allowance: Allowance) -> list[wire.Problem]:
    """Those of a kind and a fleet as one, and no more than an agent can tell apart."""
    found: dict[tuple[str, str], wire.Problem] = {}
    kinds: set[str] = set()
    wide = 0
    for problem in problems:
        key = (problem.kind, problem.fleet_uid)
        if not _is_wanted(problem, allowance):
            continue
        if key in found:
            found[key].count = min(found[key].count + problem.count, allowance.vms)
            continue
        wide += not problem.fleet_uid
        kinds.add(problem.kind)
        if wide > MOST_WIDE or len(kinds) > MOST_KINDS or len(found) == MOST_PROBLEMS:
            break
        found[key] = _cut_problem(problem, allowance)
    return list(found.values())


def _cut_problem(problem: wire.Problem, allowance: Allowance) -> wire.Problem:
    cut = wire.Problem()
    cut.CopyFrom(problem)
    cut.count = min(problem.count, allowance.vms)
    cut.example_message = one_line(problem.example_message, MOST_TEXT)
    if not are_fit(problem.failed, allowance.vms):
        del cut.failed[:]
    return cut
