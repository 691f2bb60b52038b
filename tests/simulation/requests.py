"""What operators ask of the simulated cluster, and what may therefore be true of its fleets.

A request that was answered stands until a later one. One whose outcome is unknown may come about
until a request that was made after it had ended is answered: from then on it never may.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from fleet.ranges import IndexSet
from fleet.v1 import types_pb2 as types
from fleet_controller.commit import Outdated
from fleet_controller.core.changes import Refused
from fleet_controller.core.control import Action
from fleet_controller.core.rollout_orders import Wish
from fleet_controller.leader import LeadershipLost
from fleet_controller.replica import Leading
from fleet_controller.store.port import StoreError, UnknownOutcome
from fleet_controller.upkeep import Chosen
from tests.simulation.clockwork import Clockwork
from tests.simulation.controllers import Controller

DEADLINE_SECONDS = 20.0
ACTOR = "operator/sim"
DELETED = -1  # the total of a fleet that is being deleted


@dataclass(slots=True, eq=False)
class Request:
    """One request for a fleet's total."""

    total: int
    began: float
    ended: float = float("inf")


@dataclass(slots=True)
class Wishes:
    """All that was asked of one fleet name and may still come about."""

    open: list[Request] = field(default_factory=list)
    stands: int | None = None  # the total that was answered last

    def begin(self, total: int, now: float) -> Request:
        request = Request(total, now)
        self.open.append(request)
        return request

    def answered(self, request: Request, now: float) -> None:
        """It stands: what had ended before it began never comes about any more."""
        request.ended = now
        self.stands = request.total
        self.open = [one for one in self.open if one is not request and one.ended > request.began]

    def refused(self, request: Request) -> None:
        """It never comes about."""
        self.open = [one for one in self.open if one is not request]

    def unknown(self, request: Request, now: float) -> None:
        request.ended = now

    def begin_anew(self) -> None:
        """The fleet of this name is another one: nothing was asked of it yet."""
        self.stands = None

    def may_be(self, total: int) -> bool:
        """Whether that can be what is wanted now, whoever asks."""
        return self.stands in (None, total) or self.may_become(total)

    def may_become(self, total: int) -> bool:
        return any(one.total == total for one in self.open)


class Operator:
    """Asks whichever controller says that it leads."""

    def __init__(
        self, loop: Clockwork, controllers: list[Controller], note: Callable[[str], None]
    ) -> None:
        self.loop = loop
        self.controllers = controllers
        self.note = note
        self.wishes: dict[str, Wishes] = {}
        self.declared: set[str] = set()  # hosts that an operator has called lost
        self.breaker_held_until = 0.0
        self.drained: set[str] = set()  # hosts that an operator ever drained
        self.remade: set[str] = set()  # fleets of which an operator ever made VMs anew

    def leading(self) -> tuple[Controller, Leading] | None:
        """The last one that says so: one that was stopped and woke may say so too."""
        found = [(one, leading) for one in self.controllers if (leading := one.leading())]
        return found[-1] if found else None

    def scale(self, fleet: str, total: int) -> None:
        self._wish(
            fleet,
            total,
            lambda leading: leading.operations.scale(fleet, total, ACTOR, partial=True),
            f"scale {fleet} to {total}",
        )

    def delete(self, fleet: str) -> None:
        self._wish(
            fleet,
            DELETED,
            lambda leading: leading.operations.delete(fleet, ACTOR),
            f"delete {fleet}",
        )

    def apply(self, fleet: str, spec: types.FleetSpec) -> None:
        self.ask(lambda leading: leading.operations.apply(fleet, spec, ACTOR), f"apply {fleet}")

    def cordon(self, host_id: str, cordoned: bool) -> None:
        word = "cordon" if cordoned else "uncordon"
        self.ask(
            lambda leading: leading.operations.cordon(host_id, cordoned, ACTOR),
            f"{word} {host_id}",
        )

    def declare_lost(self, host_id: str, lost: bool) -> None:
        if lost:
            self.declared.add(host_id)
        word = "lost" if lost else "not lost"
        self.ask(
            lambda leading: leading.verdicts.declare_lost([host_id], lost, ACTOR),
            f"{host_id} is {word}",
        )

    def release_breaker(self, seconds: float) -> None:
        self.breaker_held_until = self.loop.now + DEADLINE_SECONDS + seconds
        self.ask(
            lambda leading: leading.verdicts.release_breaker(seconds, ACTOR), "release the breaker"
        )

    def release_quarantine(self, host_id: str) -> None:
        self.ask(
            lambda leading: leading.verdicts.release_quarantine(host_id, ACTOR),
            f"release {host_id}",
        )

    def drain(self, host_id: str, draining: bool) -> None:
        if draining:
            self.drained.add(host_id)

        async def act(leading: Leading) -> None:
            upkeep = leading.upkeep
            await (upkeep.drain if draining else upkeep.cancel_drain)(host_id, ACTOR)

        self.ask(act, f"{'drain' if draining else 'drain no more'} {host_id}")

    def control(self, fleet: str, action: Action, indices: IndexSet | None) -> None:
        """Restart, make anew, stop or start VMs of a fleet; None: all."""
        if action is Action.REIMAGE:
            self.remade.add(fleet)
        chosen = Chosen(fleet, indices)
        self.ask(
            lambda leading: leading.upkeep.control(
                chosen, action, ACTOR, plan_only=False, token=""
            ),
            f"{action.value} {indices or 'all'} of {fleet}",
        )

    def roll_out(self, fleet: str) -> None:
        self.remade.add(fleet)
        wish = Wish(max_unavailable_share=0.3, halt_share=0.9)
        self.ask(
            lambda leading: leading.upkeep.start_rollout(fleet, wish, ACTOR, plan_only=False),
            f"roll out {fleet}",
        )

    def abort_rollout(self, fleet: str) -> None:
        self.ask(
            lambda leading: leading.upkeep.turn_rollout(fleet, "abort", ACTOR, plan_only=False),
            f"abort the rollout of {fleet}",
        )

    def ask(self, act: Callable[[Leading], Awaitable[object]], words: str) -> None:
        """Something that no invariant looks at; trouble is nobody's business."""
        found = self.leading()
        if found is not None and found[0].process is not None:
            self.loop.spawn(found[0].process, self._serve(act, found[1], words, None, None))

    def _wish(
        self,
        fleet: str,
        total: int,
        act: Callable[[Leading], Awaitable[object]],
        words: str,
    ) -> None:
        found = self.leading()
        if found is None or found[0].process is None:
            return
        wishes = self.wishes.setdefault(fleet, Wishes())
        request = wishes.begin(total, self.loop.now)
        self.loop.spawn(found[0].process, self._serve(act, found[1], words, wishes, request))
        # Whoever asked gives up, whatever the controller's process does.
        self.loop.after(DEADLINE_SECONDS + 1.0, _give_up, request, self.loop)

    async def _serve(
        self,
        act: Callable[[Leading], Awaitable[object]],
        leading: Leading,
        words: str,
        wishes: Wishes | None,
        request: Request | None,
    ) -> None:
        """In the controller's process, as its API does."""
        self.note(f"asked: {words}")
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                await act(leading)
        except (Refused, Outdated) as error:
            self.note(f"refused: {words}: {error}")
            if wishes is not None and request is not None:
                wishes.refused(request)
        except (UnknownOutcome, TimeoutError, StoreError, LeadershipLost) as error:
            self.note(f"unknown: {words}: {error}")
            if wishes is not None and request is not None:
                wishes.unknown(request, self.loop.now)
        else:
            self.note(f"done: {words}")
            if wishes is not None and request is not None:
                wishes.answered(request, self.loop.now)


def _give_up(request: Request, loop: Clockwork) -> None:
    request.ended = min(request.ended, loop.now)
