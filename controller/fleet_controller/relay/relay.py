"""The leader's way to hosts' agents for what operators ask, for as long as this leadership lasts.

Nothing is asked once the lease may be gone. What goes on is ended with the connections of the
leadership, and ends as its loss, not as that of a host.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from fleet.template.host_needs import NeededImage
from fleet.transport import Refusal
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet_controller.agents.port import (
    Declined,
    LinkError,
    Misbehaved,
    NoAnswer,
    NotOffered,
    Questions,
    StaleTerm,
)
from fleet_controller.core.hosts import out_of_reach
from fleet_controller.core.refusals import Reason, Refused, named_host
from fleet_controller.election.election import LeaderLease, LeadershipLost
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.leader.store_trust import StoreTrust
from fleet_controller.waiting import within

# A host announces what it has at once, and what it says is written after 10 s at the latest.
TOLD_SECONDS = 15.0
# Why a host did not answer: the leader's words, or the agent's own.
NOT_ANSWERED = (Refused, Refusal)
# What sends a caller elsewhere: no host's to say.
_OF_CONTROLLERS = frozenset({"NOT_LEADER"})


class Relay:
    """All raise Refused, Refusal (an agent's own) and LeadershipLost."""

    def __init__(self, memory: LeaderMemory, lease: LeaderLease, trust: StoreTrust) -> None:
        self._memory = memory
        self._lease = lease
        self._trust = trust
        self._over = False

    async def run(self) -> None:
        """Until cancelled: from then on this leadership is over."""
        try:
            await asyncio.Event().wait()
        finally:
            self._over = True

    @property
    def term(self) -> types.Term:
        return self._memory.term

    def raise_if_over(self) -> None:
        """Raises LeadershipLost."""
        if self._over or not self._lease.valid():
            raise LeadershipLost("this controller leads no longer")

    def host(self, name: str) -> str:
        """The host meant: the only one when the name is empty."""
        return named_host(self._memory.state.hosts, name).id

    def is_live(self, host_id: str) -> bool:
        return self._memory.links.connection(host_id) is not None

    def questions(self, host_id: str) -> Questions:
        """The way to a host's agent."""
        self.raise_if_over()
        connection = self._memory.links.connection(host_id)
        if connection is None:
            raise self._out_of_reach(host_id, self._memory.links.error(host_id))
        return connection.questions()

    @contextmanager
    def answering(self, host_id: str, what: str) -> Iterator[None]:
        """Errors of an agent's answers, as its refusals and ours. `what` was asked, in words."""
        try:
            yield
        except StaleTerm as error:
            proven = self._trust.outranked(host_id, error.heard, str(error))
            if self._trust.frozen:
                self._trust.raise_unless_trusted()
            if not proven:
                raise self._out_of_reach(host_id, str(error)) from error
            raise LeadershipLost("an agent has heard a newer leader") from error
        except NotOffered as error:
            raise self._too_old(host_id, what) from error
        except Declined as error:
            answer = error.answer
            if answer is None or answer.reason in _OF_CONTROLLERS:
                raise self._out_of_reach(host_id, str(error)) from error
            raise answer from error
        except Misbehaved as error:
            self.raise_if_over()
            self.misbehaved(host_id, str(error))
            raise self._out_of_reach(host_id, str(error)) from error
        except NoAnswer as error:
            self.raise_if_over()
            message = f"host {host_id} did not answer in time: {what} may still go on there"
            raise Refused(Reason.HOST_UNREACHABLE, message) from error
        except LinkError as error:
            self.raise_if_over()
            raise self._out_of_reach(host_id, str(error)) from error

    @contextmanager
    def changing(self, host_id: str, kind: str, what: str, actor: str) -> Iterator[None]:
        """As `answering`, for what changes a host. When the end of the call is not known, that
        is an event. When it is known, the caller adds the event."""
        try:
            with self.answering(host_id, what):
                yield
        except (Refused, LeadershipLost, asyncio.CancelledError) as error:
            if not (isinstance(error, Refused) and error.reason is Reason.UNIMPLEMENTED):
                self.event(kind, f"{host_id}: {what}: how it ended is not known", host_id, actor)
            raise

    async def placeable(self, host_id: str, image: wire.ImageOnHost) -> None:
        """Until the host itself has said that it has the image, so that VMs of it are placed there;
        not for ever: it may be the word of a host that says otherwise at once."""
        held = image.image
        needed = NeededImage(held.name, held.snapshot, "")
        records = self._memory.host_records

        async def told() -> None:
            while True:
                version = records.version
                record = self._memory.state.hosts.get(host_id)
                if record is None or not record.holdings.lacks_image(needed):
                    return
                await records.after(version)

        await within(TOLD_SECONDS, told())

    def event(self, kind: str, message: str, host_id: str, actor: str) -> None:
        self._memory.events.add(kind, message, host=host_id, actor=actor)

    def misbehaved(self, host_id: str, why: str) -> None:
        """A host says what no agent may. However often, it is one event that counts."""
        self._memory.events.add("host_misbehaves", why, host=host_id, alike=host_id, free=1)

    def console_opened(self, message: str, host_id: str, actor: str, fleet: str) -> None:
        """Whoever opens the same console again and again is told of ever more seldom."""
        self._memory.events.add(
            "console_opened", message, fleet=fleet, host=host_id, actor=actor,
            alike=f"{actor}: {message}", counted=True,
        )  # fmt: skip

    def _out_of_reach(self, host_id: str, why: str) -> Refused:
        return out_of_reach(host_id, self._memory.links.age(host_id), why)

    def _too_old(self, host_id: str, what: str) -> Refused:
        record = self._memory.state.hosts.get(host_id)
        version = record.agent_version if record else ""
        return Refused(
            Reason.UNIMPLEMENTED,
            f"the agent of {host_id}, version {version or 'unknown'}, does not offer {what}; "
            "a newer one may",
        )
