"""Standbys are asked before a host is declared lost by time; whoever they reach is cut off from the
leader alone, and people are told."""

from __future__ import annotations

from collections.abc import Sequence

from fleet_controller.core.model import Health
from fleet_controller.core.names import some_of
from fleet_controller.leader.reign import Reign
from fleet_controller.standbys import Place

# Two rounds of a standby's probes (probing.py), and a second for the ways and its processor. A
# standby that is stopped or cut off delays verdicts by so much, and no more.
ANSWER_SECONDS = 5.0
# As many as a standby asks in two rounds.
MOST_ASKED = 512
# Hosts that are reached make room for others within the budget of verdicts: as many as can be
# asked about in so long are asked about at once, the rest when everything is judged again.
MORE_SECONDS = 1.0
_TOLD = 5  # hosts with an event each


class Inquiry:
    """One leadership's. `leader`: the name of this replica."""

    def __init__(self, reign: Reign, leader: str) -> None:
        self._reign = reign
        self._leader = leader

    def about(self, unconfirmed: Sequence[str]) -> list[str]:
        """The hosts to ask about now: these, and those that only a standby reaches, for as long
        as that is so."""
        reign = self._reign
        again = reign.vouching.to_ask_again(reign.now(), reign.settings.loss.lost_after)
        return list(dict.fromkeys([*unconfirmed, *again]))[:MOST_ASKED]

    async def ask(self, hosts: Sequence[str]) -> None:
        """Return when it is known who is reached, or it has taken too long."""
        reign = self._reign
        places = [Place(host, reign.state.hosts[host].address) for host in hosts]
        reached = await reign.standbys.reach(places, ANSWER_SECONDS)
        fresh = reign.vouching.note(hosts, reached, reign.now())
        self.forget_settled()
        self._tell([host for host in fresh if reign.vouching.by(host)])

    def forget_settled(self) -> None:
        """What standbys said of hosts that are heard again, lost, or known no more."""
        vouching = self._reign.vouching
        vouching.forget([host for host in vouching.all() if not self._is_away(host)])

    def _is_away(self, host: str) -> bool:
        record, link = self._reign.state.hosts.get(host), self._reign.links.links.get(host)
        absent = link is not None and link.health is not Health.LIVE
        return record is not None and not record.lost and absent

    def _tell(self, hosts: Sequence[str]) -> None:
        """Once for each host: an event each when few, one for all when many."""
        for host in hosts if len(hosts) <= _TOLD else ():
            text = self._sentence(host, "is", "it is", self._reign.vouching.by(host))
            self._reign.events.add("host_cut_off", text, host=host)
        if len(hosts) > _TOLD:
            names = sorted({self._reign.vouching.by(host) for host in hosts})
            text = self._sentence(some_of(hosts), "are", "they are", some_of(names))
            self._reign.events.add("host_cut_off", text)

    def _sentence(self, who: str, are: str, they_are: str, by: str) -> str:
        return (
            f"{who} {are} reached by {by} but not by {self._leader}, which leads: {they_are} not "
            "declared lost; look at the network between them"
        )
