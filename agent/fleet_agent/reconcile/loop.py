"""The loop: lists what exists, plans, runs the plan, and lists again until nothing is left to do.

An assignment wakes it, and so does a change of the hypervisor, a retry that has come due, and a
slow audit. Nothing is concluded from having done a step: only from what the drivers list.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import structlog

from fleet.keys import NO_EPOCH, Kin
from fleet.ranges import IndexSet
from fleet.v1 import agent_pb2 as wire
from fleet_agent.alarm import Alarm
from fleet_agent.core.model import Mark, VmState
from fleet_agent.core.plan.awaited_images import AwaitedImages
from fleet_agent.core.plan.isolation import Contact, StartPermit, start_permit
from fleet_agent.core.plan.plan import Plan, Step, plan
from fleet_agent.core.plan.silent_failures import deaths, without_effect
from fleet_agent.core.plan.snapshot import Snapshot, snapshot_of
from fleet_agent.core.plan.states import states_of
from fleet_agent.drivers.ports.errors import DriverError, as_driver_errors, first_error
from fleet_agent.drivers.ports.hypervisor import Hypervisor
from fleet_agent.drivers.ports.storage import Storage
from fleet_agent.reconcile.bridge_keeper import BridgeKeeper
from fleet_agent.reconcile.failing_since import FailingSince
from fleet_agent.reconcile.failures import BackOff, VmFailures
from fleet_agent.reconcile.fencing import FencedAssignment
from fleet_agent.reconcile.host_slots import StartPace
from fleet_agent.reconcile.problems import (
    amiss_of,
    driver_problem,
    failing_of,
    fallbacks_of,
    ledger_problems,
    problems_of,
)
from fleet_agent.reconcile.run_progress import RunProgress
from fleet_agent.reconcile.runner import Runner, RunnerSettings
from fleet_agent.reconcile.step_measures import StepMeasures
from fleet_agent.reporting.board import Board
from fleet_agent.reporting.report_streams import ReportStreams

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """Seconds, unless a name says otherwise."""

    runner: RunnerSettings = field(default_factory=RunnerSettings)
    back_off: BackOff = field(default_factory=BackOff)
    audit_interval: float = 60.0
    listing_deadline: float = 120.0
    # While a plan runs, news from the hypervisor wait so long before the plan is made anew.
    replan_after: float = 15.0
    # Between two tries of a driver that does not work at all: BackOff's first up to this.
    driver_retry: float = 30.0
    # After a driver did not work: for so long it is asked so often. A libvirtd that takes up its
    # domains again tells nobody of those that end meanwhile.
    wary_for: float = 30.0
    wary_interval: float = 3.0
    # After a reboot, until VMs of fleets that wait for lost hosts are started unasked. Ours:
    # longer than a leader takes to call, and to be replaced.
    reboot_grace: float = 300.0


class ReconcileLoop:
    """One host's loop. It reads the assignment and the streams, and writes the board."""

    def __init__(
        self,
        host_id: str,
        fenced: FencedAssignment,
        streams: ReportStreams,
        board: Board,
        storage: Storage,
        hypervisor: Hypervisor,
        *,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        jitter: Callable[[], float],
        settings: LoopSettings,
        on_step: Callable[[Step], None] | None,
        bridges: BridgeKeeper | None = None,
        awaited: AwaitedImages | None = None,
        measures: StepMeasures | None = None,
        pace: StartPace | None = None,
    ) -> None:
        """`clock` gives monotonic seconds, `wall_clock` those since 1970, `jitter` numbers in
        [0, 1). `on_step` hears of each step of each batch as it begins. `bridges`: None: the host
        has those that VMs need. `pace`: as of the runner."""
        self._host_id = host_id
        self._fenced = fenced
        self._streams = streams
        self._board = board
        self._storage = storage
        self._hypervisor = hypervisor
        self._clock = clock
        self._wall_clock = wall_clock
        self._jitter = jitter
        self._settings = settings
        self._failing_since = FailingSince()
        self._bridges = bridges
        self._awaited = awaited or AwaitedImages()
        self._bridge_problems: tuple[wire.Problem, ...] = ()
        self._failures = VmFailures(settings.back_off, jitter)
        self._progress = RunProgress(
            host_id, board, self._failures, clock, on_step, lambda: fenced.change
        )
        self._runner = Runner(
            storage, hypervisor, settings.runner, clock, self._progress, measures, pace
        )
        self._alarm = Alarm()
        self._round: asyncio.Timeout | None = None
        self._driver_failures = 0
        self._wary_until = clock()
        self._ledger_checked = False
        self._began = clock()
        # Once the first round is over, well or not: what runs is known, or cannot be.
        self.first_round_over = asyncio.Event()

    async def run(self) -> None:
        """One round after another, until cancelled."""
        while True:
            pause = await self._attempt()
            self.first_round_over.set()
            await self._alarm.sleep(pause)

    async def follow_hypervisor(self) -> None:
        """Wake for hints of the hypervisor, until cancelled. A hint that is lost costs no more than
        the audit's wait."""
        while True:
            try:
                with as_driver_errors("changes"):
                    async for _ in self._hypervisor.changes():
                        self.plan_anew(self._settings.replan_after)
            except DriverError as error:
                log.warning("no news of the hypervisor", host=self._host_id, error=str(error))
            await asyncio.sleep(self._settings.driver_retry)
            # No event has told what happened meanwhile.
            self.plan_anew(self._settings.replan_after)

    def plan_anew(self, after: float = 0.0) -> None:
        """Make the plan anew: at once, or when the present one has run so many seconds longer."""
        self._alarm.ring()
        scope = self._round
        if scope is None or scope.expired():
            return
        when = asyncio.get_running_loop().time() + after
        planned = scope.when()
        if planned is None or when < planned:
            scope.reschedule(when)

    def take_up_images(self) -> None:
        """Other images are here, or on their way: plan at once, and try again whatever failed."""
        self._failures.reconsider(self._clock())
        self.plan_anew()

    def take_up_assignment(self) -> None:
        """The assignment is another: plan at once, and try again whatever failed."""
        self._failures.reconsider(self._clock())
        for shard in self._fenced.assignment.shards:
            if shard.retry:
                self._failures.begin_anew(shard.kin, shard.indices, shard.retry)
        self.plan_anew()

    async def _attempt(self) -> float:
        """One round. Seconds to sleep after it."""
        trouble: BaseException | None = None
        try:
            await self._guarded()
        except* DriverError as errors:
            trouble = first_error(errors)
        if trouble is not None:
            return self._driver_trouble(trouble)
        now = self._clock()
        if self._driver_failures:
            self._driver_failures, self._wary_until = 0, now + self._settings.wary_for
        wary = now < self._wary_until
        interval = self._settings.wary_interval if wary else self._settings.audit_interval
        audit = interval * (1.0 - self._jitter() / 4)
        due = self._failures.next_try(now)
        changes_in = self._start_permit().changes_in
        waits = [audit, audit if due is None else due - now]
        return min(waits if changes_in is None else [*waits, changes_in])

    async def _guarded(self) -> None:
        try:
            async with asyncio.timeout(None) as self._round:
                # What is under way then would go on starting what is to be stopped.
                changes_in = self._start_permit().changes_in
                if changes_in is not None and not self._streams.any_open:
                    self._round.reschedule(asyncio.get_running_loop().time() + changes_in)
                await self._converge()
        except TimeoutError:
            # Interrupted: the plan is made anew.
            self._alarm.ring()
        finally:
            self._round = None

    async def _converge(self) -> None:
        before: list[Step] = []
        await self._keep_bridges()
        while True:
            snapshot = await self._list()
            self._check_ledger(snapshot)
            now = self._clock()
            self._note_deaths(snapshot, now)
            made = self._plan(snapshot, now)
            if before and self._note_no_effect(before, made, snapshot, now):
                made = self._plan(snapshot, now)
            self._failures.prune(made.unmet, now)
            self._publish(snapshot, made)
            if not made.steps:
                if self._bridges is not None:
                    await self._bridges.sweep(self._fenced.assignment)
                return
            self._progress.failed_of_run.clear()
            record = self._fenced.record
            await self._runner.run(made, self._fenced.assignment, Mark(record.term, record.epoch))
            before = made.steps

    async def _keep_bridges(self) -> None:
        if self._bridges is None:
            return
        kept = await self._bridges.keep(self._fenced.assignment)
        self._bridge_problems = kept.problems
        if kept.appeared:
            self._failures.reconsider(self._clock())

    async def _list(self) -> Snapshot:
        try:
            async with asyncio.timeout(self._settings.listing_deadline):
                with as_driver_errors("listing"):
                    clones = await self._storage.listing()
                    return snapshot_of(clones, await self._hypervisor.listing())
        except TimeoutError as error:
            raise DriverError(
                f"the drivers did not list what exists within "
                f"{self._settings.listing_deadline:.0f} s"
            ) from error

    def _check_ledger(self, snapshot: Snapshot) -> None:
        """Once a process: what it makes itself is made under the ledger's epoch."""
        if self._ledger_checked:
            return
        self._ledger_checked = True
        if self._fenced.check_against(snapshot.newest):
            log.warning(
                "the ledger is older than what exists: it was put back. Nothing is made or removed "
                "before the assignment comes again",
                host=self._host_id,
                ledger=self._fenced.record.epoch,
                made_under=snapshot.newest,
            )

    def _plan(self, snapshot: Snapshot, now: float) -> Plan:
        return plan(
            self._fenced.assignment,
            snapshot,
            self._failures.resting(now),
            permit=self._start_permit(),
        )

    def _note_deaths(self, snapshot: Snapshot, now: float) -> None:
        for kin, failures in deaths(self._fenced.assignment, self._running, snapshot):
            self._failures.record(kin, failures, now)

    def _running(self, kin: Kin) -> IndexSet:
        return self._board.having(kin, VmState.RUNNING)

    def _note_no_effect(
        self, before: list[Step], made: Plan, snapshot: Snapshot, now: float
    ) -> bool:
        """Whether there was any such step."""
        noted = False
        failed = self._progress.failed_of_run
        for kin, failures in without_effect(before, made.steps, failed, snapshot):
            noted = True
            self._failures.record(kin, failures, now)
        return noted

    def _publish(self, snapshot: Snapshot, made: Plan) -> None:
        board = self._board
        failing = self._failures.failing()
        board.describe(states_of(self._fenced.assignment, snapshot, made, failing))
        board.set_orphans(made.orphans)
        board.set_released(made.released)
        amiss = amiss_of(made, snapshot, self._failures)
        self._failing_since.note(failing_of(amiss), int(self._wall_clock()))
        problems = problems_of(amiss, self._failing_since) + ledger_problems(self._fenced)
        board.set_problems([*problems, *self._bridge_problems])
        board.set_fallbacks(fallbacks_of(snapshot))
        board.set_standing(
            self._fenced.record.epoch,
            self._fenced.record.epoch_seal,
            converged=not made.steps and not made.held,
            awaits_assign=self._fenced.waits_to_be_told,
        )

    def _driver_trouble(self, error: BaseException) -> float:
        """Report it. Seconds until the next try."""
        log.warning("driver does not work", host=self._host_id, error=str(error))
        self._driver_failures += 1
        self._board.set_problems([driver_problem(error)])
        self._board.set_standing(
            self._board.epoch,
            self._board.epoch_seal,
            converged=False,
            awaits_assign=self._fenced.waits_to_be_told,
        )
        first = self._settings.back_off.first
        wait = min(self._settings.driver_retry, first * 2.0 ** min(self._driver_failures - 1, 16))
        return wait * (1.0 - self._jitter() / 2)

    def _start_permit(self) -> StartPermit:
        contact = Contact(
            self._fenced.awaits_assign,
            self._clock() - self._began,
            self._streams.seconds_silent(),
            ledger_is_old=self._fenced.older_than != NO_EPOCH,
            was_isolated=self._fenced.was_isolated,
        )
        permit = start_permit(self._fenced.assignment, contact, self._settings.reboot_grace)
        if permit.isolated:
            self._fenced.was_isolated = True
        waiting, changes_in = self._awaited.kins(self._fenced.assignment, self._clock())
        if not waiting:
            return permit
        waits = [one for one in (permit.changes_in, changes_in) if one is not None]
        changes_in = min(waits, default=None)
        return replace(permit, held=permit.held | waiting, changes_in=changes_in)
