"""Whole messages that lie: too many, too large, none at all, and answers that nothing follows."""

from __future__ import annotations

import grpc

from fleet.term_claims import term_metadata
from fleet.transport import Refusal
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet_controller.agents import port
from tests.simulation.doubles.lies.told import (
    LONG,
    MANY,
    ODD,
    Told,
    changed_announcement,
    changed_report,
)
from tests.simulation.doubles.tongue import Knowledge, Saying

FLOOD = 400  # reports for each honest one
ANNOUNCED = 200  # at once


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


def _large_announcement(know: Knowledge, saying: Saying) -> None:
    saying.facts.hypervisor = "x" * LONG
    for number in range(2_000):
        saying.facts.labels[f"label-{number}"] = "y" * 200


def _many_announcements(know: Knowledge, saying: Saying) -> list[Saying]:
    """Each says something else, so that each is worth a write."""
    said = []
    for _ in range(ANNOUNCED):
        facts = types.HostFacts()
        facts.CopyFrom(saying.facts)
        facts.agent_version = f"v{know.random.randrange(10**9)}"
        said.append(Saying(saying.address, facts))
    return said


REPORTS_AND_ANSWERS: tuple[Told, ...] = (
    Told("flood", _flood, named=True),
    Told("many ranges", changed_report(_many_ranges), named=True),
    Told("many released", changed_report(_many_released), named=True),
    Told("long problems", changed_report(_long_problems), named=True),
    Told("silent after the first", _silent, named=True),
    Told("silent", _says_nothing, named=True),
    Told("not there", _says_nothing, describes=_is_not_there, named=True),
    Told("stale term", watch_refused=_stale_term, named=True),
    Told("stale term on assign", assigned=_stale_term_on_assign),
    Told("declines to report", watch_refused=_declines_to_report, named=True),
    Told("ahead of the store", assigned=_ahead),
    Told("obeys in words", assigned=_done_in_words),
    Told("answers another epoch", assigned=_another_epoch),
)


ANNOUNCEMENTS: tuple[Told, ...] = (
    Told("large announcement", announces=changed_announcement(_large_announcement)),
    Told("many announcements", announces=_many_announcements),
)
