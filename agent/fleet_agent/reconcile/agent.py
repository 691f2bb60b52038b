"""The agent of one host: makes its assignment true, and keeps it so.

Two things happen here. Calls (`assign`, `heard`) are fenced by term and epoch and written to the
ledger before they are answered. One loop lists what exists, plans, runs the plan, and lists
again until nothing is left to do; it is woken by an assignment, by a change of the hypervisor,
by a retry that has come due, and by a slow audit. Nothing is concluded from having done a step:
only from what the drivers list.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog

from fleet.keys import Epoch, Kin, Term
from fleet.ranges import IndexSet
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet_agent.alarm import Alarm
from fleet_agent.core.assignment import Assignment, BadAssignment
from fleet_agent.core.model import Mark, VmState
from fleet_agent.core.plan.isolation import Contact, Leave, leave, shortest_limit
from fleet_agent.core.plan.plan import Plan, Snapshot, Step, plan, snapshot_of
from fleet_agent.core.plan.silent_failures import deaths, without_effect
from fleet_agent.core.plan.states import states_of
from fleet_agent.drivers.ports.vms import DriverError, Hypervisor, Storage
from fleet_agent.reconcile.failures import BackOff, Deviations
from fleet_agent.reconcile.fencing import CallRefused, Orders
from fleet_agent.reconcile.ledger import Ledger, LedgerError
from fleet_agent.reconcile.observer_reports import tell_observer
from fleet_agent.reconcile.problems import driver_problem, problems_of
from fleet_agent.reconcile.run_progress import RunProgress
from fleet_agent.reconcile.runner import Runner, RunnerSettings
from fleet_agent.reporting.board import Board
from fleet_agent.reporting.report_stream import Pace, Reports
from fleet_agent.reporting.report_streams import Watchers

log = structlog.get_logger()

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """Seconds, unless a name says otherwise."""

    runner: RunnerSettings = field(default_factory=RunnerSettings)
    back_off: BackOff = field(default_factory=BackOff)
    audit_interval: float = 60.0
    listing_deadline: float = 120.0
    # While a plan runs, news from the hypervisor wait so long before the plan is made anew.
    replan_after: float = 15.0
    # Between two tries of a driver that does not work at all: BackOff's first up to this.
    driver_retry: float = 30.0
    # After a reboot, until VMs of fleets that wait for lost hosts are started unasked. Ours:
    # longer than a leader takes to call, and to be replaced.
    reboot_grace: float = 300.0


class Agent:
    """One host's agent. `open` once, then `run` until cancelled; VMs keep running after that."""

    def __init__(
        self,
        host_id: str,
        facts: types.HostFacts,
        storage: Storage,
        hypervisor: Hypervisor,
        ledger: Ledger,
        *,
        clock: Callable[[], float],
        jitter: Callable[[], float],
        settings: AgentSettings,
        incarnation: str,
        on_step: Callable[[Step], None] | None = None,
        on_watched: Callable[[bool], None] | None = None,
    ) -> None:
        """`clock` gives monotonic seconds, `jitter` numbers in [0, 1). `incarnation` is taken
        by a host that has none yet. `on_step` hears of each step of each batch as it begins,
        `on_watched` whether anybody holds a stream of reports."""
        self.host_id = host_id
        self.board = Board()
        self._facts = facts
        self._storage = storage
        self._hypervisor = hypervisor
        self._clock = clock
        self._jitter = jitter
        self._settings = settings
        self._orders = Orders(host_id, ledger, facts.boot_id, incarnation)
        self._deviations = Deviations(settings.back_off, jitter)
        self._progress = RunProgress(host_id, self.board, self._deviations, clock, on_step)
        self._runner = Runner(storage, hypervisor, settings.runner, clock, self._progress)
        self._alarm = Alarm()
        self._round: asyncio.Timeout | None = None
        self._turn = asyncio.Lock()
        self._group: asyncio.TaskGroup | None = None
        self._watchers = Watchers(self.board, clock, on_watched)
        self._driver_failures = 0
        self._began = clock()
        # Once the first round is over, well or not: what runs is known, or cannot be.
        self.begun = asyncio.Event()

    # Life ---------------------------------------------------------------------------------

    async def open(self) -> None:
        """Read the ledger, or begin one. Raises LedgerError, BadAssignment."""
        await self._orders.open()
        self.set_facts(self._facts)

    def set_facts(self, facts: types.HostFacts) -> None:
        """Something about the host has changed. Its incarnation is the ledger's, whatever they
        say."""
        facts.incarnation = self._orders.record.incarnation
        self._facts = facts
        self.board.set_facts(facts)

    async def run(self) -> None:
        """Keep the assignment true until cancelled."""
        try:
            async with asyncio.TaskGroup() as self._group:
                self._group.create_task(self._listen())
                await self._reconcile()
        finally:
            self._group = None

    # Calls --------------------------------------------------------------------------------

    @property
    def facts(self) -> types.HostFacts:
        return self.board.facts

    @property
    def term(self) -> Term:
        """The highest seen."""
        return self._orders.record.term

    @property
    def assignment(self) -> Assignment:
        """What the host is to have, as the ledger says."""
        return self._orders.assignment

    @property
    def epoch(self) -> Epoch:
        """That of the assignment in the ledger."""
        return self._orders.record.epoch

    @property
    def fleet_names(self) -> Mapping[str, str]:
        """Of the fleets in its assignment, by uid."""
        return {uid: fleet.name for uid, fleet in self._orders.assignment.fleets.items()}

    async def heard(self, term: Term) -> None:
        """A controller has spoken in this term. Raises StaleTerm, LedgerError."""
        self._orders.check_term(term)
        self._note_contact()
        if term > self.term:
            await self._whole(self._hear(term))

    async def assign(self, request: wire.AssignRequest) -> Epoch:
        """Take over the assignment; when this returns it is in the ledger. The epoch of it.

        Raises WrongHost, StaleTerm, StaleEpoch, BadAssignment, LedgerError; then nothing has
        changed.
        """
        return await self._whole(self._accept(request))

    def open_reports(self, term: Term, pace: Pace) -> Reports:
        """A stream of reports for a reader that speaks in this term; give it back to
        `close_reports`. It ends by itself once a higher term is heard."""
        return self._watchers.open(term, pace)

    def open_observation(self, pace: Pace) -> Reports:
        """As `open_reports`, for a reader that commands nothing, whatever its term: nobody else's
        stream ends for it, and the host still looks for a controller. It is heard of one."""
        self._note_contact()
        return self._watchers.observe(
            pace, lambda report: tell_observer(report, self._orders, self.board)
        )

    def close_reports(self, reports: Reports) -> None:
        reports.close()
        self._note_contact()
        self._watchers.gone(reports)
        limit = shortest_limit(self.assignment)
        if limit is not None and not self._watchers.any:
            self._interrupt(limit)

    async def _whole(self, act: Coroutine[Any, Any, T]) -> T:
        """Done to its end though the caller be cancelled: what is in the ledger is obeyed."""
        if self._group is None:
            return await act
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._group.create_task(_answer(act, answer))
        return await answer

    async def _hear(self, term: Term) -> None:
        async with self._turn:
            await self._orders.hear(term)
            self._watchers.end_older(self.term)

    async def _accept(self, request: wire.AssignRequest) -> Epoch:
        async with self._turn:
            news = await self._orders.accept(request)
            self._note_contact()
            if news:
                self._deviations.reconsider(self._clock())
                self._watchers.tell_observers_anew()
                self._interrupt()
                log.info("assigned", host=self.host_id, term=self.term, epoch=self.epoch)
            self._watchers.end_older(self.term)
            return self.epoch

    def _note_contact(self) -> None:
        """A controller speaks, or has done so until now."""
        limit, silent = shortest_limit(self.assignment), self._watchers.silent()
        self._watchers.heard()
        if limit is not None and (silent is None or silent >= limit):
            self._interrupt()

    def _leave(self) -> Leave:
        contact = Contact(
            self._orders.awaits_assign, self._clock() - self._began, self._watchers.silent()
        )
        return leave(self.assignment, contact, self._settings.reboot_grace)

    # The loop -----------------------------------------------------------------------------

    async def _reconcile(self) -> None:
        while True:
            pause = await self._attempt()
            self.begun.set()
            await self._alarm.sleep(pause)

    async def _attempt(self) -> float:
        """One round; how long to sleep after it."""
        trouble: BaseException | None = None
        try:
            await self._guarded()
        except* DriverError as errors:
            trouble = _first(errors)
        if trouble is not None:
            return self._driver_trouble(trouble)
        self._driver_failures = 0
        now = self._clock()
        audit = self._settings.audit_interval * (1.0 - self._jitter() / 4)
        due = self._deviations.next_try(now)
        changes_in = self._leave().changes_in
        waits = [audit, audit if due is None else due - now]
        return min(waits if changes_in is None else [*waits, changes_in])

    async def _guarded(self) -> None:
        try:
            async with asyncio.timeout(None) as self._round:
                # What is under way then would go on starting what is to be stopped.
                changes_in = self._leave().changes_in
                if changes_in is not None and not self._watchers.any:
                    self._round.reschedule(asyncio.get_running_loop().time() + changes_in)
                await self._converge()
        except TimeoutError:
            # Interrupted: the plan is made anew.
            self._alarm.ring()
        finally:
            self._round = None

    def _interrupt(self, after: float = 0.0) -> None:
        """Make the plan anew: at once, or when the present one has run so much longer."""
        self._alarm.ring()
        scope = self._round
        if scope is None or scope.expired():
            return
        when = asyncio.get_running_loop().time() + after
        planned = scope.when()
        if planned is None or when < planned:
            scope.reschedule(when)

    async def _converge(self) -> None:
        before: list[Step] = []
        while True:
            snapshot = await self._look()
            now = self._clock()
            self._note_deaths(snapshot, now)
            made = self._plan(snapshot, now)
            if before and self._note_no_effect(before, made, now):
                made = self._plan(snapshot, now)
            self._deviations.prune(made.unmet, now)
            self._publish(snapshot, made)
            if not made.steps:
                return
            self._progress.failed_of_run.clear()
            await self._runner.run(made, self._orders.assignment, Mark(self.term, self.epoch))
            before = made.steps

    async def _look(self) -> Snapshot:
        try:
            async with asyncio.timeout(self._settings.listing_deadline):
                clones = await self._storage.listing()
                return snapshot_of(clones, await self._hypervisor.listing())
        except TimeoutError as error:
            raise DriverError(
                f"the drivers did not list what exists within "
                f"{self._settings.listing_deadline:.0f} s"
            ) from error

    def _plan(self, snapshot: Snapshot, now: float) -> Plan:
        return plan(
            self._orders.assignment,
            snapshot,
            self._deviations.resting(now),
            leave=self._leave(),
        )

    def _note_deaths(self, snapshot: Snapshot, now: float) -> None:
        for kin, failures in deaths(self._orders.assignment, self._running, snapshot):
            self._deviations.record(kin, failures, now)

    def _running(self, kin: Kin) -> IndexSet:
        return self.board.having(kin, VmState.RUNNING)

    def _note_no_effect(self, before: list[Step], made: Plan, now: float) -> bool:
        """Whether there was any such step."""
        noted = False
        for kin, failures in without_effect(before, made.steps, self._progress.failed_of_run):
            noted = True
            self._deviations.record(kin, failures, now)
        return noted

    def _publish(self, snapshot: Snapshot, made: Plan) -> None:
        board = self.board
        failing = self._deviations.failing()
        board.describe(states_of(self._orders.assignment, snapshot, made, failing))
        board.set_orphans(made.orphans)
        board.set_released(made.released)
        board.set_problems(problems_of(made, self._deviations))
        board.set_standing(
            self.epoch,
            converged=not made.steps and not made.held,
            awaits_assign=self._orders.awaits_assign,
        )

    def _driver_trouble(self, error: BaseException) -> float:
        """Tell it, and how long to wait before the next try."""
        log.warning("driver does not work", host=self.host_id, error=str(error))
        self._driver_failures += 1
        self.board.set_problems([driver_problem(error)])
        self.board.set_standing(
            self.board.epoch, converged=False, awaits_assign=self._orders.awaits_assign
        )
        first = self._settings.back_off.first
        wait = min(self._settings.driver_retry, first * 2.0 ** min(self._driver_failures - 1, 16))
        return wait * (1.0 - self._jitter() / 2)

    async def _listen(self) -> None:
        """Hints of the hypervisor. A hint that is lost costs no more than the audit's wait."""
        while True:
            try:
                async for _ in self._hypervisor.changes():
                    self._interrupt(self._settings.replan_after)
            except DriverError as error:
                log.warning("no news of the hypervisor", host=self.host_id, error=str(error))
            await asyncio.sleep(self._settings.driver_retry)
            # Whatever has happened meanwhile was not told.
            self._interrupt(self._settings.replan_after)


async def _answer(act: Coroutine[Any, Any, T], answer: asyncio.Future[T]) -> None:
    """Nobody may be waiting for the answer any more. A refusal ends the call, not the agent."""
    try:
        result = await act
    except (CallRefused, BadAssignment, LedgerError) as error:
        if not answer.done():
            answer.set_exception(error)
    except BaseException:
        answer.cancel()
        raise
    else:
        if not answer.done():
            answer.set_result(result)


def _first(errors: BaseExceptionGroup[DriverError]) -> BaseException:
    """One of the errors in a group of groups."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
