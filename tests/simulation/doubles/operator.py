"""What operators ask of the simulated cluster, and what may therefore be true of its fleets.

A request that was answered stands until one that was made after its answer is answered; of two
whose times overlap either may be the later, as when a controller is stopped before it answers what
it has written. One whose outcome is unknown may come about until a request that was made after it
had ended is answered: from then on it never may.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from fleet.ranges import IndexSet
from fleet.v1 import types_pb2 as types
from fleet_controller.changes.vms import Chosen
from fleet_controller.core.model import FleetRecord
from fleet_controller.core.recovery.view import RecoveryChoice
from fleet_controller.core.refusals import Refused
from fleet_controller.core.rollouts_and_drains.control import Action
from fleet_controller.core.rollouts_and_drains.rollout_orders import RolloutAction, RolloutOptions
from fleet_controller.election.election import LeadershipLost
from fleet_controller.mirror.committer import Outdated
from fleet_controller.replica.leader import Leader
from fleet_controller.store.port import StoreError, UnknownOutcome
from tests.simulation.doubles.controllers import Controller
from tests.simulation.doubles.witness import Witness
from tests.simulation.engine.clockwork import Clockwork

DEADLINE_SECONDS = 20.0
DELETED = -1  # the total of a fleet that is being deleted
OPERATOR = "operator/"
# What changes something whenever it is accepted; of the rest some find it done already.
ALWAYS_TOLD = frozenset(
    {"scale", "delete", "remove", "release_breaker", "rollout_start", "rollout_abort"}
)
# Something asked of a leader, in somebody's name.
Asked = Callable[[Leader, str], Awaitable[object]]


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
    standing: list[Request] = field(default_factory=list)  # that were answered, the newest last

    def begin(self, total: int, now: float) -> Request:
        request = Request(total, now)
        self.open.append(request)
        return request

    @property
    def stands(self) -> int | None:
        """The total that was answered last."""
        return self.standing[-1].total if self.standing else None

    def answered(self, request: Request, now: float) -> None:
        """It stands: what had ended before it began never comes about any more."""
        request.ended = now
        self.standing = [*(one for one in self.standing if one.ended > request.began), request]
        self.open = [one for one in self.open if one is not request and one.ended > request.began]

    def refused(self, request: Request) -> None:
        """It never comes about."""
        self.open = [one for one in self.open if one is not request]

    def unknown(self, request: Request, now: float) -> None:
        request.ended = now

    def begin_anew(self) -> None:
        """The fleet of this name is another one: nothing was asked of it yet."""
        self.standing = []

    def may_be(self, total: int) -> bool:
        """Whether that can be what is wanted now, whoever asks."""
        stands = not self.standing or any(one.total == total for one in self.standing)
        return stands or self.may_become(total)

    def may_become(self, total: int) -> bool:
        return any(one.total == total for one in self.open)


class Operator:
    """Asks whichever controller says that it leads."""

    def __init__(
        self,
        loop: Clockwork,
        controllers: list[Controller],
        witness: Witness,
        note: Callable[[str], None],
    ) -> None:
        self.loop = loop
        self.controllers = controllers
        self._witness = witness
        self.note = note
        self.wishes: dict[str, Wishes] = {}
        self.declared: set[str] = set()  # hosts that an operator has called lost
        self.breaker_held_until = 0.0
        self.drained: set[str] = set()  # hosts that an operator ever drained
        self.given_up: set[str] = set()  # hosts all of whose VMs an operator ever gave up
        self.remade: set[str] = set()  # fleets of which an operator ever made VMs anew
        self.recovers = False  # one was asked for since the store was set back
        self._asked = 0

    def leading(self) -> tuple[Controller, Leader] | None:
        """The last one that says so: one that was stopped and woke may say so too."""
        found = [(one, leading) for one in self.controllers if (leading := one.leading())]
        return found[-1] if found else None

    def scale(self, fleet: str, total: int) -> None:
        self._wish(
            fleet,
            total,
            "scale",
            lambda leading, me: leading.fleets.scale(fleet, total, me, partial=True),
            f"scale {fleet} to {total}",
        )

    def delete(self, fleet: str) -> None:
        self._wish(
            fleet,
            DELETED,
            "delete",
            lambda leading, me: leading.fleets.delete(fleet, me),
            f"delete {fleet}",
        )

    def apply(self, fleet: str, spec: types.FleetSpec) -> None:
        self._ask(
            "apply",
            lambda leading, me: leading.fleets.apply(fleet, spec, me),
            f"apply {fleet}",
        )

    def cordon(self, host_id: str, cordoned: bool) -> None:
        word = "cordon" if cordoned else "uncordon"
        self._ask(
            word,
            lambda leading, me: leading.hosts.cordon(host_id, cordoned, me),
            f"{word} {host_id}",
        )

    def declare_lost(self, host_id: str, lost: bool) -> None:
        if lost:
            self.declared.add(host_id)
        word = "lost" if lost else "not lost"
        self._ask(
            "declare_lost" if lost else "declare_lost_undo",
            lambda leading, me: leading.verdicts.declare_lost([host_id], lost, me),
            f"{host_id} is {word}",
        )

    def release_breaker(self, seconds: float) -> None:
        self.breaker_held_until = self.loop.now + DEADLINE_SECONDS + seconds
        self._ask(
            "release_breaker",
            lambda leading, me: leading.verdicts.release_breaker(seconds, me),
            "release the breaker",
        )

    def release_quarantine(self, host_id: str) -> None:
        self._ask(
            "release_quarantine",
            lambda leading, me: leading.verdicts.release_quarantine(host_id, me),
            f"release {host_id}",
        )

    def drain(self, host_id: str, draining: bool) -> None:
        if draining:
            self.drained.add(host_id)

        async def act(leading: Leader, me: str) -> None:
            hosts = leading.hosts
            await (hosts.drain if draining else hosts.cancel_drain)(host_id, me)

        word = "drain" if draining else "undrain"
        self._ask(word, act, f"{'drain' if draining else 'drain no more'} {host_id}")

    def give_up(self, host_id: str) -> None:
        """All that a lost host has goes elsewhere, what would wait for it too."""
        self.given_up.add(host_id)
        self.drained.add(host_id)  # and it stays so, should it come back
        self._ask(
            "drain", lambda leading, me: leading.hosts.give_up(host_id, me), f"give up {host_id}"
        )

    def remove(self, host_id: str, *, force: bool) -> None:
        if force:
            self.given_up.add(host_id)
        self._ask(
            "remove",
            lambda leading, me: leading.hosts.remove(host_id, force, me),
            f"remove {host_id}{' by force' if force else ''}",
        )

    def recover(self, *, patient: bool) -> None:
        """Adopt what hosts have, with the totals that stand; where `patient` only once every host
        is heard."""

        async def act(leading: Leader, me: str) -> None:
            recovery = leading.recovery
            first = await recovery.plan(RecoveryChoice(adopt=True))
            records = [one.record for one in first.fleets if not one.problem]
            absent = frozenset() if patient else frozenset(first.unseen)
            totals = {record.name: self._standing(record) for record in records}
            wish = RecoveryChoice(True, totals, absent)
            plan = await recovery.plan(wish)
            if plan.complete:
                self.declared |= absent
                self.recovers = True
                await self._confirm(totals, recovery.recover(wish, plan.token, me))

        self._ask("recover", act, "recover")

    def _standing(self, record: FleetRecord) -> int:
        """What the fleet's total is to be, for all that was answered."""
        wishes = self.wishes.get(record.name)
        stands = wishes.stands if wishes else None
        return record.total if stands is None else max(0, stands)

    async def _confirm(self, totals: Mapping[str, int], work: Awaitable[object]) -> None:
        """Each total is a request of its own."""
        asked = [
            (wishes, wishes.begin(total, self.loop.now))
            for name, total in totals.items()
            if (wishes := self.wishes.setdefault(name, Wishes()))
        ]
        try:
            await work
        except (Refused, Outdated):
            for wishes, request in asked:
                wishes.refused(request)
            raise
        except BaseException:
            for wishes, request in asked:
                wishes.unknown(request, self.loop.now)
            raise
        for wishes, request in asked:
            wishes.answered(request, self.loop.now)

    def control(self, fleet: str, action: Action, indices: IndexSet | None) -> None:
        """Restart, make anew, stop or start VMs of a fleet; None: all."""
        if action is Action.REIMAGE:
            self.remade.add(fleet)
        chosen = Chosen(fleet, indices)
        self._ask(
            f"vms_{action.value}",
            lambda leading, me: leading.vms.control(chosen, action, me, plan_only=False, token=""),
            f"{action.value} {indices or 'all'} of {fleet}",
        )

    def roll_out(self, fleet: str, wish: RolloutOptions) -> None:
        self.remade.add(fleet)
        self._ask(
            "rollout_start",
            lambda leading, me: leading.rollouts.start(fleet, wish, me, plan_only=False),
            f"roll out {fleet}",
        )

    def abort_rollout(self, fleet: str) -> None:
        self._ask(
            "rollout_abort",
            lambda leading, me: leading.rollouts.turn(
                fleet, RolloutAction.ABORT, me, plan_only=False
            ),
            f"abort the rollout of {fleet}",
        )

    def _ask(self, action: str, act: Asked, words: str) -> None:
        """Something that is no fleet's total."""
        found = self.leading()
        if found is not None and found[0].process is not None:
            work = self._serve(act, found[1], self._name(action), words, None, None)
            self.loop.spawn(found[0].process, work)

    def _name(self, action: str) -> str:
        self._asked += 1
        return actor_of(action, self._asked)

    def _wish(self, fleet: str, total: int, action: str, act: Asked, words: str) -> None:
        found = self.leading()
        if found is None or found[0].process is None:
            return
        wishes = self.wishes.setdefault(fleet, Wishes())
        request = wishes.begin(total, self.loop.now)
        work = self._serve(act, found[1], self._name(action), words, wishes, request)
        self.loop.spawn(found[0].process, work)
        # Whoever asked gives up, whatever the controller's process does.
        self.loop.after(DEADLINE_SECONDS + 1.0, _give_up, request, self.loop)

    async def _serve(
        self,
        act: Asked,
        leading: Leader,
        actor: str,
        words: str,
        wishes: Wishes | None,
        request: Request | None,
    ) -> None:
        """In the controller's process, as its API does."""
        self.note(f"asked: {words}")
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                await act(leading, actor)
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
            if action_of(actor) in ALWAYS_TOLD:
                self._witness.answered(actor)


def actor_of(action: str, number: int) -> str:
    """A name that says who asked for what: no two requests have the same."""
    return f"{OPERATOR}{action}-{number}"


def action_of(actor: str) -> str:
    """What that one has asked for; empty for anybody else."""
    return actor.removeprefix(OPERATOR).rpartition("-")[0] if actor.startswith(OPERATOR) else ""


def _give_up(request: Request, loop: Clockwork) -> None:
    request.ended = min(request.ended, loop.now)
