"""A standby's look at hosts that the leader does not hear: is anybody there?

Each is dialled anew, as whoever would lead next would dial it, and the name in its certificate is
insisted upon. The question carries no term: agents that have heard one decline it, which tells as
much as an answer, and nothing is commanded or remembered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from fleet_controller.agents.port import AgentDialer, Declined, LinkError
from fleet_controller.standbys import Place

# A connection, a handshake and one call; a first packet that is lost is sent again after 1 s
# (RFC 6298).
PROBE_SECONDS = 2.0
# A standby is asked about at most MOST_ASKED hosts (host_loss/standby_poll.py): two rounds of
# these. Those that are not there cost a socket each; those that are there some milliseconds of
# processor time.
AT_ONCE = 256


class HostProbe:
    """`dialer`: this replica's own, whose bound of open connections holds here too."""

    def __init__(self, dialer: AgentDialer) -> None:
        self._dialer = dialer
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def reached(self, places: Iterable[Place]) -> list[str]:
        """The hosts whose agents have answered, in the order asked."""
        asked = list(places)
        answers = await asyncio.gather(*map(self._is_there, asked))
        return [place.host for place, there in zip(asked, answers, strict=True) if there]

    async def _is_there(self, place: Place) -> bool:
        async with self._slots:
            try:
                connection = self._dialer.connect(place.host, place.address)
            except LinkError:
                return False
            try:
                async with asyncio.timeout(PROBE_SECONDS):
                    await connection.describe(PROBE_SECONDS)
            except Declined:
                return True  # the agent's own word
            except (LinkError, TimeoutError):
                return False
            finally:
                await connection.close()
            return True
