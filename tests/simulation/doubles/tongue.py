"""What a host says to controllers in place of its honest agent, which stays behind it.

An honest tongue passes everything on. A lying one is a list of lies (`doubles.lies`), each of which
takes what is about to be said and gives what is said instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types


@dataclass(slots=True)
class Knowledge:
    """What a liar knows: its own orders, and whatever an insider would of the cluster."""

    host: str
    random: Random
    orders: wire.AssignRequest = field(default_factory=wire.AssignRequest)
    totals: dict[str, int] = field(default_factory=dict)  # of all fleets, by uid
    addresses: Sequence[str] = ()  # of other hosts

    def fleet(self) -> str:
        """The uid of some fleet; of one that never was where there is none."""
        return self.random.choice(sorted(self.totals) or ["00000000-0000-0001-0001-00000000dead"])


@dataclass(slots=True)
class Saying:
    """One announcement."""

    address: str
    facts: types.HostFacts


class Lie(Protocol):
    """One way to lie. Whatever is not lied about is passed on."""

    @property
    def name(self) -> str: ...

    def reports(self, know: Knowledge, report: wire.Report) -> list[wire.Report]:
        """What is reported instead: any number of reports. `report` is the liar's to change."""

    def watch_refused(self, know: Knowledge) -> Exception | None:
        """Why it does not report, as the port has it."""

    def assigned(
        self, know: Knowledge, request: wire.AssignRequest
    ) -> wire.AssignResponse | Exception | None:
        """What it answers without telling its agent; None: the agent is told."""

    def describes(self, know: Knowledge) -> bool:
        """Whether it answers when it is asked who it is."""

    def announces(self, know: Knowledge, saying: Saying) -> list[Saying]:
        """What it announces instead."""


class Tongue:
    """Of one host, for all lives of its agent. `lies` is empty while it is honest; `holds_back`:
    whether it is honest at the moment all the same."""

    def __init__(self, host: str, random: Random) -> None:
        self.know = Knowledge(host, random)
        self.lies: tuple[Lie, ...] = ()
        self.holds_back: Callable[[], bool] = bool

    def reports(self, report: wire.Report) -> list[wire.Report]:
        if not self.lies or self.holds_back():
            return [report]
        told = wire.Report()
        told.CopyFrom(report)
        said = [told]
        for lie in self.lies:
            said = [one for before in said for one in lie.reports(self.know, before)]
        return said

    def watch_refused(self) -> Exception | None:
        if self.holds_back():
            return None
        return next((e for lie in self.lies if (e := lie.watch_refused(self.know))), None)

    def assigned(self, request: wire.AssignRequest) -> wire.AssignResponse | Exception | None:
        self.know.orders = request
        for lie in self.lies:
            if (answer := lie.assigned(self.know, request)) is not None:
                return answer
        return None

    def describes(self) -> bool:
        return all(lie.describes(self.know) for lie in self.lies)

    def announces(self, address: str, facts: types.HostFacts) -> list[Saying]:
        said = [Saying(address, facts)]
        for lie in self.lies:
            said = [one for before in said for one in lie.announces(self.know, before)]
        return said
