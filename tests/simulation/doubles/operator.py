"""What operators ask of the simulated cluster, through whichever controller leads."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from fleet.ranges import IndexSet
from fleet.v1 import types_pb2 as types
from fleet_controller.changes.hosts import DrainDeadline
from fleet_controller.changes.vms import Chosen
from fleet_controller.core.model import FleetRecord, HostRecord
from fleet_controller.core.recovery.view import RecoveryChoice
from fleet_controller.core.refusals import Refused
from fleet_controller.core.rollouts_and_drains.control import Action
from fleet_controller.core.rollouts_and_drains.rollout_orders import RolloutAction, RolloutOptions
from fleet_controller.election.election import LeadershipLost
from fleet_controller.mirror.committer import Outdated
from fleet_controller.replica.leader import Leader
from fleet_controller.store.port import StoreError, UnknownOutcome
from tests.simulation.doubles.controllers import Controller
from tests.simulation.doubles.requests import DELETED, FleetRequests, Request
from tests.simulation.doubles.witness import Witness
from tests.simulation.engine.clockwork import Clockwork

DEADLINE_SECONDS = 20.0
OPERATOR = "operator/"
# Fleets whose totals change by time too.
BY_TIME = frozenset({"tides"})
# What changes something whenever it is accepted; of the rest some find it done already.
ALWAYS_TOLD = frozenset(
    {
        "scale",
        "delete",
        "remove",
        "release_breaker",
        "rollout_start",
        "rollout_abort",
        "rollout_promote",
        "rollout_hold",
        "rollout_back",
        "rollout_undo",
    }
)
# Something asked of a leader, in somebody's name.
Asked = Callable[[Leader, str], Awaitable[object]]


class Operator(Witness):
    """Asks whichever controller says that it leads, and hears what becomes of it."""

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
        self.requests: dict[str, FleetRequests] = {}
        self.declared: set[str] = set()  # hosts that an operator has called lost
        self.breaker_held_until = 0.0
        self.drained: set[str] = set()  # hosts that an operator ever drained
        self.given_up: set[str] = set()  # hosts all of whose VMs an operator ever gave up
        self.remade: set[str] = set()  # fleets of which an operator ever made VMs anew
        self.rebalanced: set[str] = set()  # fleets of which that was ever asked
        self.recovers = False  # one was asked for since the store was set back
        self._asked = 0

    def verdict_written(self, record: HostRecord, lost: bool) -> None:
        if not lost:
            self.declared.discard(record.id)

    def host_removed(self, host: str) -> None:
        self.declared.discard(host)

    def fleet_changed(self, before: FleetRecord | None, record: FleetRecord | None) -> None:
        """A fleet made anew under the name of another is nothing that was asked for."""
        if record is not None and (before is None or before.uid != record.uid):
            if requests := self.requests.get(record.name):
                requests.begin_anew()

    def store_set_back(self) -> None:
        self.recovers = False

    def leading(self) -> tuple[Controller, Leader] | None:
        """The last one that says so: one that was stopped and woke may say so too."""
        found = [(one, leading) for one in self.controllers if (leading := one.leading())]
        return found[-1] if found else None

    def scale(self, fleet: str, total: int) -> None:
        self._ask_total(
            fleet,
            total,
            "scale",
            lambda leading, me: leading.fleets.scale(fleet, total, me, partial=True),
            f"scale {fleet} to {total}",
        )

    def scale_for(self, fleet: str, total: int, seconds: int) -> None:
        """Of a fleet whose total time changes as well; 0 s: until the next point."""
        self._ask(
            "scale",
            lambda leading, me: leading.fleets.scale(
                fleet, total, me, partial=True, seconds=seconds
            ),
            f"scale {fleet} to {total} for {seconds} s",
        )

    def delete(self, fleet: str) -> None:
        self._ask_total(
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

    def drain(self, host_id: str, draining: bool, end: DrainDeadline | None = None) -> None:
        if draining:
            self.drained.add(host_id)

        async def act(leading: Leader, me: str) -> None:
            if draining:
                await leading.hosts.drain(host_id, me, end)
            else:
                await leading.hosts.cancel_drain(host_id, me)

        word = "drain" if draining else "undrain"
        within = end.in_words if end else ""
        self._ask(word, act, f"{'drain' if draining else 'drain no more'} {host_id}{within}")

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

    def expel(self, host_id: str) -> None:
        """Whatever it is and says, it is out, and all that it has goes elsewhere."""
        self.declared.add(host_id)
        self.given_up.add(host_id)
        self.drained.add(host_id)  # and it stays so, should it come back
        self._ask(
            "expel", lambda leading, me: leading.denials.expel(host_id, "a play", me),
            f"expel {host_id}",
        )  # fmt: skip

    def readmit(self, host_id: str) -> None:
        self._ask(
            "readmit", lambda leading, me: leading.denials.readmit(host_id, me),
            f"readmit {host_id}",
        )  # fmt: skip

    def recover(self, *, patient: bool) -> None:
        """Adopt what hosts have, with the totals that stand; where `patient` only once every host
        is heard."""

        async def act(leading: Leader, me: str) -> None:
            recovery = leading.recovery
            first = await recovery.plan(RecoveryChoice(adopt=True))
            records = [one.record for one in first.fleets if not one.problem]
            absent = frozenset() if patient else frozenset(first.unseen)
            totals = {record.name: self._standing(record) for record in records}
            choice = RecoveryChoice(True, totals, absent)
            plan = await recovery.plan(choice)
            if plan.complete:
                self.declared |= absent
                self.recovers = True
                await self._confirm(totals, recovery.recover(choice, plan.token, me))

        self._witness.recovery_asked()
        self._ask("recover", act, "recover")

    def _standing(self, record: FleetRecord) -> int:
        """What the fleet's total is to be, for all that was answered."""
        requests = self.requests.get(record.name)
        stands = requests.stands if requests else None
        return record.total if stands is None else max(0, stands)

    async def _confirm(self, totals: Mapping[str, int], work: Awaitable[object]) -> None:
        """Each total is a request of its own."""
        asked = [
            (requests, requests.begin(total, self.loop.now))
            for name, total in totals.items()
            if name not in BY_TIME and (requests := self.requests.setdefault(name, FleetRequests()))
        ]
        try:
            await work
        except (Refused, Outdated):
            for requests, request in asked:
                requests.refused(request)
            raise
        except BaseException:
            for requests, request in asked:
                requests.unknown(request, self.loop.now)
            raise
        for requests, request in asked:
            requests.answered(request, self.loop.now)

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

    def cancel_order(self, fleet: str, action: Action) -> None:
        """What of a restart or making anew still waits for its turn is not done."""
        self._ask(
            f"vms_{action.value}_cancelled",
            lambda leading, me: leading.vms.cancel(fleet, action, me),
            f"cancel the {action.value} of {fleet}",
        )

    def roll_out(self, fleet: str, options: RolloutOptions) -> None:
        self.remade.add(fleet)
        self._ask(
            "rollout_start",
            lambda leading, me: leading.rollouts.start(fleet, options, me, plan_only=False),
            f"roll out {fleet}",
        )

    def abort_rollout(self, fleet: str) -> None:
        self.turn_rollout(fleet, RolloutAction.ABORT)

    def turn_rollout(self, fleet: str, action: RolloutAction, generation: int = 0) -> None:
        """Abort, promote or hold it."""
        self._ask(
            f"rollout_{action}",
            lambda leading, me: leading.rollouts.turn(
                fleet, action, me, generation, plan_only=False
            ),
            f"{action} the rollout of {fleet}",
        )

    def rebalance(self, fleet: str, *, only_bounds: bool) -> None:
        self.rebalanced.add(fleet)
        self._ask(
            "rebalance",
            lambda leading, me: leading.rebalances.begin(fleet, only_bounds, "", me),
            f"rebalance {fleet}{', bounds alone' if only_bounds else ''}",
        )

    def stop_rebalance(self, fleet: str) -> None:
        self._ask(
            "rebalance_stop",
            lambda leading, me: leading.rebalances.stop(fleet, me),
            f"rebalance {fleet} no more",
        )

    def roll_back(self, fleet: str, options: RolloutOptions | None) -> None:
        """To a generation that it had; None: to the one before."""
        self.remade.add(fleet)

        async def act(leading: Leader, me: str) -> None:
            if options is None:
                await leading.rollouts.undo(fleet, me, plan_only=False)
            else:
                await leading.rollouts.back(fleet, options, me, plan_only=False)

        word = "undo" if options is None else "back"
        self._ask(f"rollout_{word}", act, f"roll {fleet} back ({word})")

    def _ask(self, action: str, act: Asked, words: str) -> None:
        """Something that is no fleet's total."""
        found = self.leading()
        if found is not None and found[0].process is not None:
            work = self._serve(act, found[1], self._name(action), words, None, None)
            self.loop.spawn(found[0].process, work)

    def _name(self, action: str) -> str:
        self._asked += 1
        return actor_of(action, self._asked)

    def _ask_total(self, fleet: str, total: int, action: str, act: Asked, words: str) -> None:
        found = self.leading()
        if found is None or found[0].process is None:
            return
        requests = self.requests.setdefault(fleet, FleetRequests())
        request = requests.begin(total, self.loop.now)
        work = self._serve(act, found[1], self._name(action), words, requests, request)
        self.loop.spawn(found[0].process, work)
        # Whoever asked gives up, whatever the controller's process does.
        self.loop.after(DEADLINE_SECONDS + 1.0, _give_up, request, self.loop)

    async def _serve(
        self,
        act: Asked,
        leading: Leader,
        actor: str,
        words: str,
        requests: FleetRequests | None,
        request: Request | None,
    ) -> None:
        """In the controller's process, as its API does."""
        self.note(f"asked: {words}")
        began, why = self.loop.now, ""
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                await act(leading, actor)
        except (Refused, Outdated) as error:
            self.note(f"refused: {words}: {error}")
            if requests is not None and request is not None:
                requests.refused(request)
        except (UnknownOutcome, TimeoutError, StoreError, LeadershipLost) as error:
            self.note(f"unknown: {words}: {error}")
            why = f"{type(error).__name__}: {error}"
            if requests is not None and request is not None:
                requests.unknown(request, self.loop.now)
        else:
            self.note(f"done: {words}")
            if requests is not None and request is not None:
                requests.answered(request, self.loop.now)
            if action_of(actor) in ALWAYS_TOLD:
                self._witness.request_answered(actor)
        self._witness.request_ended(words, began, why)


def actor_of(action: str, number: int) -> str:
    """A name that says who asked for what: no two requests have the same."""
    return f"{OPERATOR}{action}-{number}"


def action_of(actor: str) -> str:
    """What that one has asked for; empty for anybody else."""
    return actor.removeprefix(OPERATOR).rpartition("-")[0] if actor.startswith(OPERATOR) else ""


def _give_up(request: Request, loop: Clockwork) -> None:
    request.ended = min(request.ended, loop.now)
