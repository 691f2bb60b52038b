"""Who is denied, and who is allowed again: hosts are expelled and readmitted, people and
controllers lose their calls. The record of it is written with its line of the audit trail, and
checked at each call."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from fleet.peers import is_name
from fleet.transport import Peer, Role
from fleet_controller.core.model import DeniedRecord
from fleet_controller.core.names import counted
from fleet_controller.core.refusals import Reason, Refused
from fleet_controller.core.rollouts_and_drains import drain_progress
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.leader.wake import PlannerWake
from fleet_controller.leader.writer import ChangeWriter
from fleet_controller.mirror.records import (
    Write,
    delete_denied,
    put_assignment,
    put_denied,
    put_host,
)

MAX_REASON = 200  # characters


class Denials:
    """Of one leadership. All raise Refused and StoreError. `actor`: who asks, as the audit trail
    names it."""

    def __init__(
        self,
        memory: LeaderMemory,
        writer: ChangeWriter,
        wake: PlannerWake,
        accounted: Callable[[Sequence[str]], None],
        own: Peer | None,
    ) -> None:
        """`accounted`: told which hosts are gone by an operator's word. `own`: whom this
        controller's certificate names."""
        self._memory = memory
        self._writer = writer
        self._wake = wake
        self._accounted = accounted
        self._own = own

    def given_up_by(self, host_id: str) -> int:
        """How many VMs may run twice once the host is expelled: it need not stop any of them."""
        if host_id not in self._memory.state.hosts:
            return 0
        view = self._memory.host_view(host_id)
        return drain_progress.count_given_up(view.assignment, view.released)

    async def expel(self, host_id: str, reason: str, actor: str) -> int:
        """Whether it answers or not, the host is called no more and not listened to, and all that
        it has is placed elsewhere at once. Returns `given_up_by`. One that is not known is denied
        in advance."""
        denied = self._denied(Peer(Role.AGENT, host_id), reason, actor)

        async def once() -> int:
            count = self.given_up_by(host_id)
            after = f"{counted(count, 'VM')} given up: {denied.reason}"
            line = self._writer.audited("expel", actor, host=host_id, after=after)
            writes: list[Write] = [put_denied(denied), line]
            await self._writer.write_one([*writes, *self._given_up(host_id)])
            return count

        count = await self._writer.decide(once)
        self._accounted([host_id])
        left = f"; {counted(count, 'VM')} may still run there" if count else ""
        text = f"{host_id} is expelled: {denied.reason}{left}"
        self._memory.events.add("host_expelled", text, host=host_id, actor=actor)
        self._wake.urge()
        return count

    async def readmit(self, host_id: str, actor: str) -> None:
        """The host may announce itself again, and is dialled. It stays lost until it has taken its
        assignment, with what it is to release."""
        who = str(Peer(Role.AGENT, host_id))

        async def once() -> None:
            before = self._known(who).reason
            line = self._writer.audited("readmit", actor, host=host_id, before=before)
            await self._writer.write_one([delete_denied(who), line])

        await self._writer.decide(once)
        text = f"{host_id} may come back"
        self._memory.events.add("host_readmitted", text, host=host_id, actor=actor)
        self._wake.urge()

    async def deny(self, who: Peer, reason: str, actor: str, asking: Peer) -> None:
        """Whoever holds this role and name may call no more, also while changes are frozen.
        Nobody denies himself, so that somebody is left who may undo it."""
        if str(who) in asking.spellings:
            raise Refused(
                Reason.OWN_DENIAL, f"{who} is you: let another operator deny you, if that is meant"
            )
        if who == self._own:
            raise Refused(
                Reason.OWN_DENIAL, f"{who} leads: stop it, so that another leads, and deny it then"
            )
        denied = self._denied(who, reason, actor)

        async def once() -> None:
            if any(one in self._memory.state.denied for one in asking.spellings):
                raise Refused(Reason.DENIED, f"{asking} is denied meanwhile")
            line = self._writer.audited("deny", actor, after=f"{who}: {denied.reason}")
            await self._writer.write_one([put_denied(denied), line])

        await self._writer.decide(once, while_frozen=True)
        self._memory.events.add("denied", f"{who} is denied: {denied.reason}", actor=actor)

    async def allow(self, who: Peer, actor: str) -> None:
        """It may call again."""

        async def once() -> None:
            before = self._known(str(who)).reason
            line = self._writer.audited("allow", actor, before=before, after=str(who))
            await self._writer.write_one([delete_denied(str(who)), line])

        await self._writer.decide(once, while_frozen=True)
        self._memory.events.add("allowed", f"{who} is allowed again", actor=actor)

    def _denied(self, who: Peer, reason: str, actor: str) -> DeniedRecord:
        """Raises Refused for what can be no certificate's name, and without a reason."""
        if not is_name(who.name, Role(who.role)):
            raise Refused(
                Reason.BAD_QUERY, f"{who.name[:60]!r} is in no certificate: it is not a name"
            )
        if not (reason := " ".join(reason.split())):
            raise Refused(Reason.BAD_QUERY, f"say why {who} is denied: others will ask")
        now = self._memory.events.now()
        return DeniedRecord(who.role, who.name, reason[:MAX_REASON], actor, now)

    def _known(self, who: str) -> DeniedRecord:
        found = self._memory.state.denied.get(who)
        if found is None:
            raise Refused(Reason.NO_SUCH_DENIAL, f"{who[:100]} is not denied")
        return found

    def _given_up(self, host_id: str) -> list[Write]:
        """As of a host that is lost and given up: nothing waits for it."""
        record = self._memory.state.hosts.get(host_id)
        if record is None:
            return []
        view, stamp = self._memory.host_view(host_id), self._memory.state.stamp
        gone = msgspec.structs.replace(record, lost=True)
        released = drain_progress.released_for_good(view.assignment, view.released, stamp)
        return [put_host(gone), put_assignment(host_id, released)]
