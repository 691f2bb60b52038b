"""Standbys are asked before a host is declared lost by time. A host that they reach is cut off from
the leader alone; an event says so."""

from __future__ import annotations

from collections.abc import Sequence

from fleet_controller.core.names import some_of
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.standbys import Place, Standbys

# Two rounds of a standby's probes (replica/host_probe.py), and a second for the ways and its
# processor. A standby that is stopped or cut off delays verdicts by so much, and no more.
ANSWER_SECONDS = 5.0
# As many as a standby asks in two rounds.
MOST_ASKED = 512
# Hosts that are reached make room for others within the budget of verdicts: as many as can be
# asked about in so long are asked about at once, the rest when everything is judged again.
MORE_SECONDS = 1.0


class StandbyPoll:
    """One leadership's. What standbys answer is kept in the memory's `reachability`."""

    def __init__(self, memory: LeaderMemory, standbys: Standbys) -> None:
        self._memory = memory
        self._reachability = memory.reachability
        self._standbys = standbys

    def about(self, unconfirmed: Sequence[str]) -> list[str]:
        """The hosts to ask about now: those that would be lost and are not confirmed, and those
        that so far only a standby reaches. At most MOST_ASKED."""
        lost_after = self._memory.settings.loss.lost_after
        again = self._reachability.to_ask_again(self._memory.clock(), lost_after)
        return list(dict.fromkeys([*unconfirmed, *again]))[:MOST_ASKED]

    async def ask(self, hosts: Sequence[str]) -> None:
        """Return when it is known who is reached, or it has taken too long."""
        places = [Place(host, self._memory.state.hosts[host].address) for host in hosts]
        reached = await self._standbys.reach(places, ANSWER_SECONDS)
        fresh = self._reachability.note(hosts, reached, self._memory.clock())
        self.forget_settled()
        self._add_events([host for host in fresh if self._reachability.by(host)])

    def forget_settled(self) -> None:
        """What standbys said of hosts that are heard again, lost, or known no more."""
        settled = [host for host in self._reachability.all() if not self._is_away(host)]
        self._reachability.forget(settled)

    def _is_away(self, host: str) -> bool:
        record, links = self._memory.state.hosts.get(host), self._memory.links
        absent = links.get(host) is not None and not links.is_live(host)
        return record is not None and not record.lost and absent

    def _add_events(self, hosts: Sequence[str]) -> None:
        """Once for each host."""
        by = {host: self._reachability.by(host) for host in hosts}
        messages = {host: self._sentence(host, "is", "it is", by[host]) for host in hosts}
        names = some_of(sorted(set(by.values())))
        summary = self._sentence(some_of(hosts), "are", "they are", names)
        self._memory.events.add_for_hosts("host_cut_off", messages, summary)

    def _sentence(self, who: str, are: str, they_are: str, by: str) -> str:
        return (
            f"{who} {are} reached by {by} but not by {self._memory.replica}, which leads: "
            f"{they_are} not declared lost; look at the network between them"
        )
