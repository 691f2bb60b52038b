"""The newest sample of each of many hosts, from a stream of its own to each."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from fleet.v1 import agent_pb2 as wire
from fleet_controller.core.refusals import Reason, Refused
from fleet_controller.election.election import LeadershipLost
from fleet_controller.relay.paced import Paced, ReadPace
from fleet_controller.relay.relay import NOT_ANSWERED, Relay
from fleet_controller.waiting import within

# Streams opened before others have their turn on the loop: one costs some 0.2 ms.
_OPENED_AT_ONCE = 64
# Samples read of one host in an interval, which has one.
_AN_INTERVAL = 4


class HostSamples:
    """Streams live from `follow` until `close`; those that end are opened again by `follow`."""

    def __init__(self, relay: Relay, request: wire.TopRequest, fresh_seconds: float) -> None:
        """A sample older than `fresh_seconds` is none any more."""
        self._relay = relay
        self._request = request
        self._fresh_seconds = fresh_seconds
        self._pace = ReadPace(_AN_INTERVAL / request.interval_seconds)
        self._readers: dict[str, asyncio.Task[None]] = {}
        self._newest: dict[str, tuple[float, wire.TopSample]] = {}
        self._awaited: set[str] = set()  # hosts whose first sample is still to come
        self._all_answered = asyncio.Event()
        self.refusals: dict[str, Exception] = {}  # of hosts that will not, whenever asked

    async def follow(self, hosts: Iterable[str]) -> None:
        """Have a stream to each of these that is live and does not refuse, and to no other."""
        wanted = {host for host in hosts if self._relay.is_live(host)} - self.refusals.keys()
        for host in self._readers.keys() - wanted:
            self._readers[host].cancel()
        opened = 0
        for host in sorted(wanted - {h for h, task in self._readers.items() if not task.done()}):
            self._awaited.add(host)
            self._readers[host] = asyncio.create_task(self._read(host))
            opened += 1
            if opened % _OPENED_AT_ONCE == 0:
                await asyncio.sleep(0)

    async def answered(self, seconds: float) -> None:
        """Until each host that is asked has answered or cannot; at most so long."""
        await within(seconds, self._until_answered())

    async def _until_answered(self) -> None:
        while self._awaited:
            self._all_answered.clear()
            await self._all_answered.wait()

    def fresh(self) -> dict[str, wire.TopSample]:
        """By host."""
        oldest = asyncio.get_running_loop().time() - self._fresh_seconds
        return {host: sample for host, (at, sample) in self._newest.items() if at >= oldest}

    async def close(self) -> None:
        tasks = list(self._readers.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _read(self, host: str) -> None:
        try:
            await self._follow_one(host)
        except LeadershipLost:
            return  # merging finds the same
        except NOT_ANSWERED as error:
            away = isinstance(error, Refused) and error.reason is Reason.HOST_UNREACHABLE
            if not away:
                self.refusals[host] = error
        finally:
            self._heard(host)

    async def _follow_one(self, host: str) -> None:
        with self._relay.answering(host, "top"):
            answers = Paced(self._relay.questions(host).top(self._request), self._pace)
            try:
                while (sample := await answers.read()) is not None:
                    self._newest[host] = (asyncio.get_running_loop().time(), sample)
                    self._heard(host)
            finally:
                answers.cancel()

    def _heard(self, host: str) -> None:
        self._awaited.discard(host)
        if not self._awaited:
            self._all_answered.set()
