"""The agent of one host: makes its assignment true, and keeps it so.

Here are the calls (`assign`, `heard`, streams of reports). They are fenced by term and epoch and
written to the ledger before they are answered. What is assigned is carried out by the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

import structlog

from fleet.keys import Epoch, Term
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet_agent.alarm import Alarm
from fleet_agent.core.assignment import Assignment, BadAssignment
from fleet_agent.core.images import ImageName
from fleet_agent.core.plan.awaited_images import AwaitedImages
from fleet_agent.core.plan.isolation import shortest_limit
from fleet_agent.core.plan.plan import Step
from fleet_agent.drivers.ports.hypervisor import Hypervisor
from fleet_agent.drivers.ports.storage import Storage
from fleet_agent.reconcile.bridge_keeper import BridgeKeeper
from fleet_agent.reconcile.fencing import CallRefused, FencedAssignment
from fleet_agent.reconcile.host_slots import StartPace
from fleet_agent.reconcile.ledger import Ledger, LedgerError, LedgerRecord
from fleet_agent.reconcile.loop import LoopSettings, ReconcileLoop
from fleet_agent.reconcile.observer_reports import add_for_observer
from fleet_agent.reconcile.step_measures import StepMeasures
from fleet_agent.reporting.board import Board
from fleet_agent.reporting.report_stream import Pace, ReportStream
from fleet_agent.reporting.report_streams import ReportStreams

log = structlog.get_logger()

T = TypeVar("T")

# Seconds between two tries to write a ledger that could not be written.
LEDGER_AGAIN = 10.0


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
        wall_clock: Callable[[], float],
        jitter: Callable[[], float],
        settings: LoopSettings,
        incarnation: str,
        on_step: Callable[[Step], None] | None = None,
        on_watched: Callable[[bool], None] | None = None,
        bridges: BridgeKeeper | None = None,
        measures: StepMeasures | None = None,
        pace: StartPace | None = None,
    ) -> None:
        """`clock` gives monotonic seconds, `wall_clock` those since 1970, `jitter` numbers in
        [0, 1). `incarnation` is taken by a host that has none yet. `on_step` hears of
        each step of each batch as it begins, `on_watched` whether anybody holds a stream of
        reports. `bridges` and `pace`: as of the loop."""
        self.host_id = host_id
        self.board = Board()
        self._facts = facts
        self._fenced = FencedAssignment(host_id, ledger, facts.boot_id, incarnation)
        self._streams = ReportStreams(self.board, clock, on_watched)
        self._awaited = AwaitedImages()
        self._loop = ReconcileLoop(
            host_id,
            self._fenced,
            self._streams,
            self.board,
            storage,
            hypervisor,
            clock=clock,
            wall_clock=wall_clock,
            jitter=jitter,
            settings=settings,
            on_step=on_step,
            bridges=bridges,
            awaited=self._awaited,
            measures=measures,
            pace=pace,
        )
        self._turn = asyncio.Lock()
        self._unwritten = Alarm()
        self._group: asyncio.TaskGroup | None = None

    @property
    def first_round_over(self) -> asyncio.Event:
        """Set once what runs here is known, or cannot be."""
        return self._loop.first_round_over

    async def open(self) -> None:
        """Read the ledger, or begin one. Raises LedgerError."""
        await self._fenced.open()
        self.set_facts(self._facts)

    def set_facts(self, facts: types.HostFacts) -> None:
        """Something about the host has changed. Its incarnation is the ledger's, whatever they
        say."""
        facts.incarnation = self._fenced.record.incarnation
        self._facts = facts
        self.board.set_facts(facts)
        held = facts.images if facts.HasField("images") and facts.fetches_images else None
        if held != self._awaited.held:
            self._awaited.held = held
            self._loop.take_up_images()

    def set_coming(self, images: frozenset[ImageName]) -> None:
        """These images are on their way to this host."""
        if images != self._awaited.coming:
            self._awaited.coming = images
            self._loop.take_up_images()

    def look_again(self) -> None:
        """Something that VMs need has changed on the host."""
        self._loop.plan_anew()

    async def run(self) -> None:
        """Keep the assignment true until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                group.create_task(self._loop.follow_hypervisor())
                group.create_task(self._keep_ledger_written())
                await self._loop.run()
            finally:
                self._group = None  # a group that ends takes nothing more

    @property
    def watched(self) -> bool:
        """Whether a controller reads its reports."""
        return self._streams.any_open

    @property
    def facts(self) -> types.HostFacts:
        return self.board.facts

    @property
    def ledger_record(self) -> LedgerRecord:
        return self._fenced.record

    @property
    def term(self) -> Term:
        """The highest seen."""
        return self._fenced.record.term

    @property
    def assignment(self) -> Assignment:
        """What the host is to have, as the ledger says."""
        return self._fenced.assignment

    @property
    def epoch(self) -> Epoch:
        """That of the assignment in the ledger."""
        return self._fenced.record.epoch

    @property
    def fleet_names(self) -> Mapping[str, str]:
        """Of the fleets in its assignment, by uid."""
        return {uid: fleet.name for uid, fleet in self._fenced.assignment.fleets.items()}

    async def heard(self, told: types.Term) -> None:
        """A controller has spoken in this term. Raises StaleTerm, LedgerError: then the term is
        minded until this process ends, and reports may be read in it."""
        term = Term.of(told)
        self._fenced.check_term(term)
        self._note_contact()
        if term > self._fenced.written_term:
            await self._to_the_end(self._raise_term(told))

    async def reset(self, request: wire.ResetRequest) -> wire.ResetResponse:
        """An operator's word: forget the highest term and epoch. Raises WrongHost, LedgerError;
        then nothing has changed."""
        return await self._to_the_end(self._reset(request))

    async def assign(self, request: wire.AssignRequest) -> Epoch:
        """Take over the assignment; when this returns it is in the ledger. The epoch of it.

        Raises WrongHost, StaleTerm, StaleEpoch, BadAssignment, LedgerError; then nothing has
        changed.
        """
        return await self._to_the_end(self._accept(request))

    def open_reports(self, term: Term, pace: Pace) -> ReportStream:
        """A stream of reports for a reader that speaks in this term; give it back to
        `close_reports`. It ends by itself once a higher term is heard."""
        return self._streams.open(term, pace)

    def open_observation(self, pace: Pace) -> ReportStream:
        """As `open_reports`, for a reader that commands nothing. Its term is not looked at, and
        no other stream ends for it. The host goes on announcing itself. The reader counts as a
        controller that was heard."""
        self._note_contact()
        return self._streams.observe(
            pace, lambda report: add_for_observer(report, self._fenced, self.board)
        )

    def close_reports(self, reports: ReportStream) -> None:
        reports.close()
        self._note_contact()
        self._streams.remove(reports)
        limit = shortest_limit(self.assignment)
        if limit is not None and not self._streams.any_open:
            self._loop.plan_anew(limit)

    async def _to_the_end(self, act: Coroutine[Any, Any, T]) -> T:
        """Done to its end though the caller be cancelled: what is in the ledger is obeyed."""
        if self._group is None:
            return await act
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._group.create_task(_answer(act, answer))
        return await answer

    async def _raise_term(self, told: types.Term) -> None:
        async with self._turn:
            try:
                await self._fenced.raise_term(told)
            finally:
                self._tell_whether_written()
                self._streams.close_older(self.term)

    async def _reset(self, request: wire.ResetRequest) -> wire.ResetResponse:
        async with self._turn:
            try:
                before = await self._fenced.reset(request)
            finally:
                self._tell_whether_written()
            log.warning("reset by an operator", host=self.host_id, term=self.term)
            self._loop.plan_anew()
            return before

    async def _accept(self, request: wire.AssignRequest) -> Epoch:
        async with self._turn:
            try:
                news = await self._fenced.accept(request)
            finally:
                self._tell_whether_written()
            self._streams.note_contact()
            if news:
                self._streams.restart_observers()
                self._loop.take_up_assignment()
                log.info(
                    "assigned", host=self.host_id, term=self.term, epoch=self.epoch,
                    change_id=self._fenced.change,
                )  # fmt: skip
            self._streams.close_older(self.term)
            return self.epoch

    async def _keep_ledger_written(self) -> None:
        """Until cancelled: where it could not be written, try again until there is room."""
        while True:
            await self._unwritten.sleep(LEDGER_AGAIN if self._fenced.unwritten else None)
            async with self._turn:
                if self._fenced.unwritten:
                    with contextlib.suppress(LedgerError):
                        await self._fenced.write_again()
                    self._tell_whether_written()

    def _tell_whether_written(self) -> None:
        """Reports say whether this host takes orders."""
        why = self._fenced.unwritten
        if why == self.board.orders_refused:
            return
        if why:
            log.error("cannot take orders", host=self.host_id, error=why)
        else:
            log.info("takes orders again: the ledger is written", host=self.host_id)
        self.board.set_orders_refused(why)
        self._unwritten.ring()

    def _note_contact(self) -> None:
        """A controller speaks, or has done so until now."""
        limit, silent = shortest_limit(self.assignment), self._streams.seconds_silent()
        self._streams.note_contact()
        if limit is not None and (silent is None or silent >= limit):
            self._fenced.was_isolated = True
            self._loop.plan_anew()


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
