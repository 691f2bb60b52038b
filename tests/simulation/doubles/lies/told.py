"""What a lie is made of, and how much and how long what is told may be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fleet.v1 import agent_pb2 as wire
from tests.simulation.doubles.tongue import Knowledge, Saying

MOST = 2**32 - 1
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
    tells this: what it says can be seen to be wrong, unless `hidden_by` is told as well."""

    name: str
    reports: Callable[[Knowledge, wire.Report], list[wire.Report]] = _same
    watch_refused: Callable[[Knowledge], Exception | None] = _nothing
    assigned: Callable[[Knowledge, wire.AssignRequest], wire.AssignResponse | Exception | None] = (
        _passed_on
    )
    describes: Callable[[Knowledge], bool] = _described
    announces: Callable[[Knowledge, Saying], list[Saying]] = _one
    named: bool = False
    hidden_by: str = ""


def changed_report(
    change: Callable[[Knowledge, wire.Report], None],
) -> Callable[..., list[wire.Report]]:
    def told(know: Knowledge, report: wire.Report) -> list[wire.Report]:
        change(know, report)
        return [report]

    return told


def changed_announcement(
    change: Callable[[Knowledge, Saying], None],
) -> Callable[..., list[Saying]]:
    def told(know: Knowledge, saying: Saying) -> list[Saying]:
        change(know, saying)
        return [saying]

    return told
