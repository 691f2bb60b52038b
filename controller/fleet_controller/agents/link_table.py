"""What the leader knows of its links to hosts: decisions and answers read it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable

from fleet_controller.agents.link import Link
from fleet_controller.agents.port import AgentConnection
from fleet_controller.core.model import Health


class LinkTable:
    """All links of one leadership, by host. Links and Pushes write it, everybody else reads."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._links: dict[str, Link] = {}
        self._longest_silent = clock()
        self.by_health: Counter[Health] = Counter()
        self.absent: dict[str, Link] = {}  # those that are not live; the longest so first
        self.declining: set[str] = set()  # hosts that are there and do not take their assignment
        # Hosts that misbehaved and are not forgiven.
        self.misbehaving: set[str] = set()
        self.settled = asyncio.Event()  # every host known at the start was tried once

    def __len__(self) -> int:
        return len(self._links)

    def all(self) -> Iterable[Link]:
        return self._links.values()

    def get(self, host_id: str) -> Link | None:
        return self._links.get(host_id)

    def health(self, host_id: str) -> Health:
        """As the link alone has it: a verdict that the host is lost is in the store."""
        link = self._links.get(host_id)
        return link.health if link else Health.UNREACHABLE

    def is_live(self, host_id: str) -> bool:
        return self.health(host_id) is Health.LIVE

    def is_reachable(self, host_id: str) -> bool:
        """Whether the host is live, or was not dialled yet."""
        link = self._links.get(host_id)
        return link is not None and link.reachable

    @property
    def all_live(self) -> bool:
        return not self.absent

    def connection(self, host_id: str) -> AgentConnection | None:
        """The way to a live host; None to any other."""
        link = self._links.get(host_id)
        return link.connection if link and link.live else None

    def error(self, host_id: str) -> str:
        """What went wrong with the link last; empty when nothing did."""
        link = self._links.get(host_id)
        return link.error if link else ""

    def misbehaves(self, host_id: str) -> str:
        """What a host that is there did that no agent may; empty: nothing of late, or it is not
        there."""
        link = self._links.get(host_id)
        there = link is not None and (link.live or link.conduct.left_alone)
        return link.conduct.why if link and there else ""

    def age(self, host_id: str) -> float:
        """Seconds since the host was heard; negative when it never was."""
        link = self._links.get(host_id)
        return self._clock() - link.heard if link and link.ever_heard else -1.0

    def silence(self) -> float:
        """Seconds since the live host was heard that has been silent longest; 0 without any.

        As of the last sweep: it is asked with every status, and thousands of hosts are many.
        """
        silent = self._clock() - self._longest_silent
        return max(0.0, silent) if self.by_health[Health.LIVE] else 0.0

    # ---- for Links and Pushes ------------------------------------------------------------

    def add(self, link: Link) -> None:
        self._links[link.host_id] = link
        self.by_health[link.health] += 1
        self._note_presence(link)

    def remove(self, host_id: str) -> Link | None:
        link = self._links.pop(host_id, None)
        if link:
            self.by_health[link.health] -= 1
            self.absent.pop(host_id, None)
            self.declining.discard(host_id)
            self.misbehaving.discard(host_id)
        return link

    def set_health(self, link: Link, health: Health) -> None:
        self.by_health[link.health] -= 1
        link.health = health
        self.by_health[health] += 1
        self._note_presence(link)

    def _note_presence(self, link: Link) -> None:
        if link.live:
            self.absent.pop(link.host_id, None)
        elif self._links.get(link.host_id) is link:
            self.absent.setdefault(link.host_id, link)

    def note_declining(self, link: Link) -> None:
        """The host has taken its assignment, or has not; one that is forgotten has nothing to
        take."""
        if link.declining and self._links.get(link.host_id) is link:
            self.declining.add(link.host_id)
        else:
            self.declining.discard(link.host_id)

    def note_conduct(self, link: Link) -> None:
        """The host has misbehaved, or is forgiven."""
        if link.conduct.why and self._links.get(link.host_id) is link:
            self.misbehaving.add(link.host_id)
        else:
            self.misbehaving.discard(link.host_id)

    def note_longest_silent(self, heard: float) -> None:
        """When the live host was heard that has been silent longest."""
        self._longest_silent = heard
