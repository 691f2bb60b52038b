"""One host's part in a spread: what it was told, how far it is, and what went wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from fleet.transport import Refusal
from fleet.v1 import agent_pb2 as wire
from fleet_controller.agents.port import Misbehaved, RelayTalk
from fleet_controller.core.names import one_line
from fleet_controller.core.refusals import Reason, Refused
from fleet_controller.election.election import LeadershipLost
from fleet_controller.relay.relay import Relay
from fleet_controller.token_bucket import Rate, TokenBucket

# Seconds until a call that ended is made again, and until a source that failed is tried again.
RETRY_SECONDS = 3.0
MOST_DOUBLED = 5  # of a host that says too much
SHUN_SECONDS = 30.0
# A host that has an image says so of itself within this.
ANNOUNCE_SECONDS = 30.0
HELD = wire.RelayState.PHASE_HELD
# What no waiting mends: somebody has to do something on that host.
_FOR_GOOD = frozenset((
    "OTHER_CONTENT", "NO_SPACE", "IMAGE_EXISTS", "IMAGE_MISMATCH", "BAD_IMAGE", "NOT_READABLE",
    "NO_SUCH_IMAGE", "NOT_AN_IMAGE", "WRONG_HOST",
))  # fmt: skip
_WORDS = 300
# More than an honest host has to say, whatever the pace that it was told; and of one message.
_STATES = Rate(per_second=10.0, burst=100)
_STATE_BYTES = 64 * 1024
_TROUBLES = 16
MISMATCH = "IMAGE_MISMATCH"
_log = structlog.get_logger(__name__)


@dataclass(eq=False)
class Part:
    """Bytes; times are of the leader's clock. `size`: of the image; what the host says beyond that
    does not count. `failed`: why it is given up; `why`: what is in the way now."""

    host: str
    size: int = 0
    stripe: int = 0
    connected: bool = False
    held: bool = False
    done: int = 0
    total: int = 0
    failed: str = ""
    failed_reason: str = ""
    failed_at: float = 0.0
    why: str = ""
    held_until: float = 0.0  # until then it counts as having it though nothing more was heard
    moved: float = 0.0  # when it last got further
    shuns: dict[str, float] = field(default_factory=dict)  # sources, and until when
    liars: set[str] = field(default_factory=set)  # sources that have lied to it
    told: set[str] = field(default_factory=set)  # sources, now or before
    attempts: int = 0
    order: wire.RelayOrder | None = None
    said: TokenBucket = field(default_factory=TokenBucket)
    misbehaved: int = 0  # times
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    def tell(self, order: wire.RelayOrder) -> None:
        """From now on it is to obey this one."""
        self.told.update(source.host for source in order.sources)
        if order != self.order:
            self.order = order
            self.changed.set()

    def shunned(self, now: float) -> frozenset[str]:
        return frozenset(host for host, until in self.shuns.items() if until > now) | self.liars

    def hear(self, state: wire.RelayState, now: float) -> None:
        """Take over what the host says of itself, and of sources that it was told of."""
        total = min(state.total_bytes, self.size)
        done = min(state.done_bytes, total)
        if done > self.done or not self.connected:
            self.moved = now
        self.connected, self.why = True, ""
        self.done, self.total = done, total
        self.held = state.phase == HELD
        self.held_until = now + ANNOUNCE_SECONDS if self.held else 0.0
        for trouble in state.troubles[:_TROUBLES]:
            self.attempts += 1
            self.why = one_line(trouble.why, _WORDS)
            if trouble.host not in self.told:
                continue
            if trouble.lied:
                self.liars.add(trouble.host)
            else:
                self.shuns[trouble.host] = now + SHUN_SECONDS


class Attending:
    """The calls to the hosts that take part."""

    def __init__(self, relay: Relay, clock: Callable[[], float], news: Callable[[], None]) -> None:
        self._relay = relay
        self._clock = clock
        self._news = news

    async def attend(self, part: Part) -> None:
        """Until it has failed for good, this leadership is over, or cancelled."""
        while not part.failed:
            try:
                with self._relay.answering(part.host, "handing images on"):
                    await self._heard(part)
            except LeadershipLost:
                return
            except Refusal as error:
                self._note(part, error.message, error.reason, error.reason in _FOR_GOOD)
            except Refused as error:
                for_good = error.reason is Reason.UNIMPLEMENTED
                self._note(part, str(error), error.reason, for_good)
            except Exception:  # ours: it ends this host's part, and nobody else's
                _log.exception("handing an image on", host=part.host)
                self._note(part, "an error of this controller: see its log", "INTERNAL", True)
            finally:
                part.connected = False
                self._news()
            if not part.failed:
                await asyncio.sleep(RETRY_SECONDS * 2 ** min(part.misbehaved, MOST_DOUBLED))

    async def _heard(self, part: Part) -> None:
        """Until the call ends. Who misbehaves is called ever later. Raises LinkError."""
        try:
            await self._talk(part, self._relay.questions(part.host).relay_image())
        except Misbehaved:
            part.misbehaved += 1
            raise

    def _note(self, part: Part, why: str, reason: str, for_good: bool) -> None:
        part.why = one_line(why, _WORDS)
        if for_good:
            part.failed, part.failed_reason = part.why or reason, reason
            part.failed_at = self._clock()

    async def _talk(self, part: Part, talk: RelayTalk) -> None:
        """Raises LinkError."""
        part.changed.set()
        telling = asyncio.create_task(self._tell(part, talk))
        try:
            while (state := await talk.read()) is not None:
                now = self._clock()
                if part.said.take(1, now, _STATES) or state.ByteSize() > _STATE_BYTES:
                    raise Misbehaved(f"{part.host} says more of an image than it can have to say")
                part.hear(state, now)
                self._news()
        finally:
            talk.cancel()
            telling.cancel()
            await asyncio.wait([telling])
        if not telling.cancelled() and (error := telling.exception()):
            raise error

    @staticmethod
    async def _tell(part: Part, talk: RelayTalk) -> None:
        while True:
            await part.changed.wait()
            part.changed.clear()
            if part.order is not None:
                await talk.write(part.order)
