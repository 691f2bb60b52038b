"""A standby's eye on the leader's process, so that one that was killed is not waited for.

A lease says only after its whole time that its holder is gone. A connection says so at once: the
process's end closes it, and the next one is refused, as nobody listens. Then the standby revokes
the lease. That is safe even if it errs: a leader without its key writes nothing, and agents obey
the next term. It never acts on silence, which may be the network's, nor on a refusal alone, which
may be another's: it must have been connected to this leader in this term before.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import grpc
import structlog

from fleet_controller.election.leader_key import Holder
from fleet_controller.replica.forwarding import LeaderChannel
from fleet_controller.replica.replica import Replica

# Between two attempts to be connected, and between the refusals that are believed.
PAUSE_SECONDS = 0.2
REFUSALS = 2
PROBE_SECONDS = 1.0

_log = structlog.get_logger(__name__)


class LeaderFailureDetector:
    """`run` for as long as the replica runs."""

    def __init__(self, replica: Replica, channel: LeaderChannel) -> None:
        self._replica = replica
        self._channel = channel

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            leader = await self._replica.another_leads()
            gone = asyncio.create_task(self._until_gone(leader))
            ceased = asyncio.create_task(self._replica.until_leader_is_not(leader.term))
            try:
                await asyncio.wait({gone, ceased}, return_when=asyncio.FIRST_COMPLETED)
                if not ceased.done():
                    gone.result()
                    _log.warning("the leader is gone", leader=leader.replica, term=leader.term)
                    await self._replica.depose(leader)
            finally:
                gone.cancel()
                ceased.cancel()
                await asyncio.gather(gone, ceased, return_exceptions=True)

    async def _until_gone(self, leader: Holder) -> None:
        while True:
            await self._until_parted(leader)
            if await _is_refused(leader.address):
                return

    async def _until_parted(self, leader: Holder) -> None:
        """Until a connection to it has been up and is no more."""
        while True:
            try:
                channel = await self._channel.connected(leader.address)
            except ConnectionError:
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            await channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
            return


async def _is_refused(address: str) -> bool:
    """Whether nobody listens there, asked several times."""
    host, _, port = address.rpartition(":")
    for _ in range(REFUSALS):
        await asyncio.sleep(PAUSE_SECONDS)
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        except ConnectionRefusedError:
            continue
        except (OSError, TimeoutError):
            return False
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        return False
    return True
