"""The assignment of this host: fenced by term and epoch, and in the ledger before it is obeyed."""

from __future__ import annotations

import msgspec
import structlog
from google.protobuf.message import DecodeError

from fleet.assignment_bytes import assignment_bytes
from fleet.changes.change_id import change_id_or_none
from fleet.keys import NO_EPOCH, NO_TERM, Epoch, Term
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet_agent.core.assignment import Assignment, BadAssignment, parse_assignment
from fleet_agent.core.past_tombstones import past_tombstones
from fleet_agent.core.plan.isolation import shortest_limit
from fleet_agent.reconcile.ledger import Ledger, LedgerError, LedgerRecord

log = structlog.get_logger()

_LONGEST_SEAL = 64  # bytes; leaders make 16


class CallRefused(Exception):
    """A call that the agent must not obey; one sentence."""


class StaleTerm(CallRefused):
    """A newer leader has been here. `heard`: its term, with the seal that proves it."""

    def __init__(self, message: str, heard: types.Term) -> None:
        super().__init__(message)
        self.heard = heard


class StaleEpoch(CallRefused):
    """A newer assignment is in the ledger, or another one under the same epoch."""


class WrongHost(CallRefused):
    """The assignment is meant for another host."""


class FencedAssignment:
    """The last assignment and the highest term. One call at a time: the caller sees to that."""

    def __init__(self, host_id: str, ledger: Ledger, boot_id: str, incarnation: str) -> None:
        """`incarnation` is taken by a host that has none yet."""
        self._host_id = host_id
        self._ledger = ledger
        self._boot_id = boot_id
        self.record = LedgerRecord(incarnation, boot_id)
        self.assignment = Assignment()
        # The id of the change that it follows from, for logs; empty: not known.
        self.change = ""
        # Why what is obeyed is not in the ledger, or could not be; empty: it is.
        self.unwritten = ""
        self.written_term = NO_TERM  # the highest that another process of this agent would know
        # The host rebooted since it was assigned anything: nothing is started until it is again.
        self.awaits_assign = False
        # No controller was heard for so long that VMs were stopped for it, or this process does not
        # know: others may run those VMs by now. They are started once it is assigned them again.
        self.was_isolated = False
        # What exists was made under this epoch, which is newer than the ledger's: an older one was
        # put back. NO_EPOCH: it was not.
        self.older_than = NO_EPOCH

    @property
    def waits_to_be_told(self) -> bool:
        """Whether the same assignment once more is news."""
        return self.awaits_assign or self.was_isolated

    async def open(self) -> None:
        """Read the ledger, or begin one. Raises LedgerError.

        Where its assignment makes no sense to this version, what exists is left as it is, and the
        assignment is waited for as after a reboot."""
        record = await self._ledger.load()
        if record is None:
            await self._ledger.save(self.record)
            record = self.record
        self.record, self.written_term = record, record.term
        self.awaits_assign = bool(record.assignment) and record.boot_id != self._boot_id
        try:
            self.assignment = parse_assignment(_message(record.assignment), _message(record.past))
        except BadAssignment as error:
            self.awaits_assign = True
            log.error("the ledger's assignment makes no sense", host=self._host_id, why=str(error))
        self.was_isolated = shortest_limit(self.assignment) is not None

    def check_against(self, newest: Epoch) -> bool:
        """`newest`: the epoch under which the youngest of what exists was made. Whether it shows
        that an older ledger was put back."""
        if not self.record.assignment or newest <= self.record.epoch:
            return False
        self.older_than, self.awaits_assign = newest, True
        return True

    async def raise_term(self, told: types.Term) -> None:
        """Where the ledger cannot be written, this process refuses lower terms all the same.
        Raises StaleTerm, LedgerError."""
        term = Term.of(told)
        self.check_term(term)
        raised = self.record
        if term > raised.term:
            raised = msgspec.structs.replace(raised, term=term, term_seal=_seal(told.seal))
        try:
            await self._remember(raised)
        except LedgerError:
            self.record = raised
            raise

    async def write_again(self) -> None:
        """Write what could not be written. Raises LedgerError."""
        await self._remember(self.record)

    async def reset(self, request: wire.ResetRequest) -> wire.ResetResponse:
        """Forget the highest term and epoch, and obey this one's. What they were. Raises
        WrongHost, LedgerError; then nothing has changed."""
        self._check_host(request.host_id)
        before = self.record
        await self._remember(
            msgspec.structs.replace(
                before,
                term=Term.of(request.term),
                term_seal=_seal(request.term.seal),
                epoch=NO_EPOCH,
                epoch_seal=b"",
                assignment_seal=b"",
                past=b"",
            )
        )
        return wire.ResetResponse(term=before.term_message(), epoch=before.epoch_message())

    async def accept(self, request: wire.AssignRequest) -> bool:
        """Whether there is anything new in it.

        Raises WrongHost, StaleTerm, StaleEpoch, BadAssignment, LedgerError; then nothing has
        changed.
        """
        self._check_host(request.host_id)
        term, epoch = Term.of(request.term), Epoch.of(request.epoch)
        self.check_term(term)
        data = assignment_bytes(request.assignment)
        self._check_epoch(epoch, data)
        news = epoch != self.record.epoch or self.waits_to_be_told
        past = self._past(request.assignment, epoch)
        assignment = parse_assignment(request.assignment, past) if news else self.assignment
        known = past.SerializeToString(deterministic=True)
        await self._remember(
            LedgerRecord(
                self.record.incarnation,
                self._boot_id,
                term,
                epoch,
                data,
                known,
                _seal(request.term.seal),
                _seal(request.epoch.seal),
                _seal(request.assignment_seal),
            )
        )
        self.assignment = assignment
        self.change = change_id_or_none(request.change_id)
        self.awaits_assign = self.was_isolated = False
        self.older_than = NO_EPOCH
        return news

    def _past(self, wanted: types.Assignment, epoch: Epoch) -> types.Assignment:
        """What has been let go; a store that was recovered says all of it anew."""
        known = self.record
        if epoch.store_generation != known.epoch.store_generation:
            return types.Assignment()
        try:
            return past_tombstones(_message(known.past), _message(known.assignment), wanted)
        except BadAssignment:
            return types.Assignment()

    def check_term(self, term: Term) -> None:
        """Raises StaleTerm."""
        if term < self.record.term:
            raise StaleTerm(
                f"host {self._host_id} has heard a leader of term {self.record.term}; "
                f"this one's is {term}",
                self.record.term_message(),
            )

    def _check_host(self, host_id: str) -> None:
        """Raises WrongHost."""
        if host_id != self._host_id:
            raise WrongHost(f"this is host {self._host_id}, not {host_id[:80]!r}")

    def _check_epoch(self, epoch: Epoch, data: bytes) -> None:
        known = self.record
        if epoch < known.epoch:
            raise StaleEpoch(
                f"host {self._host_id} holds the assignment of epoch {known.epoch}; this one is "
                f"of epoch {epoch}"
            )
        if epoch == known.epoch and known.assignment and data != known.assignment:
            raise StaleEpoch(f"host {self._host_id} holds another assignment of epoch {epoch}")

    async def _remember(self, record: LedgerRecord) -> None:
        if record == self.record and not self.unwritten:
            return
        try:
            await self._ledger.save(record)
        except LedgerError as error:
            self.unwritten = str(error)
            raise
        self.record, self.unwritten = record, ""
        self.written_term = record.term


def _message(kept: bytes) -> types.Assignment:
    """An assignment as the ledger has it. Raises BadAssignment."""
    try:
        return types.Assignment.FromString(kept)
    except DecodeError as error:
        raise BadAssignment(f"{len(kept)} bytes that are no assignment") from error


def _seal(told: bytes) -> bytes:
    """As much of it as is kept: it may come from anybody with a controller's certificate."""
    return told[:_LONGEST_SEAL]
