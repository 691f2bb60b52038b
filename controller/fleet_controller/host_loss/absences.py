"""How long hosts have been away, and what follows from it: who is lost, and which breakers open."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Set

from fleet_controller.core.host_loss.loss import Absent, Allowance, Judgement, bucket, judge
from fleet_controller.core.model import HostRecord
from fleet_controller.leader.memory import LeaderMemory


class Absences:
    """What one leadership remembers of them. Times are of the leader's monotonic clock, in
    seconds. `waiting`: hosts that are due and held by a breaker."""

    def __init__(self, memory: LeaderMemory) -> None:
        self._memory = memory
        self._settings = memory.settings.loss
        self._allowance = Allowance(bucket(self._settings), memory.clock())
        # When this leader began to judge: all hosts known then were dialled before.
        self._began: float | None = None
        # Hosts lost by time, and when.
        self._recent: dict[str, float] = {}
        suspect = memory.settings.links.times.suspect_after
        # Seconds of silence after which a host counts as gone.
        self._shortest = min(suspect, self._settings.lost_after or suspect)
        self._pardoned: dict[str, float] = {}  # silence counts from here
        self.waiting = 0

    def begin(self) -> None:
        """From now on the leader judges. When hosts were lost before is not known: they count as
        lost now."""
        if self._began is None:
            self._began = self._memory.clock()
            expelled = self._memory.is_expelled
            by_time = (host for host in self._memory.state.lost if not expelled(host))
            self._recent = dict.fromkeys(by_time, self._began)

    def judged(self) -> Judgement:
        """What follows from who is away now."""
        state, now = self._memory.state, self._memory.clock()
        if self._began is None or now - self._began < self._shortest:
            # Nobody can have been silent for long yet: what an earlier leader found may still be.
            return Judgement((), state.breaker.scopes, state.breaker.reason, self.waiting)
        window = now - self._settings.window
        self._recent = {host: at for host, at in self._recent.items() if at > window}
        recent = self._recent.keys() & state.lost
        self._allowance = self._allowance.grown(now, self._settings)
        absent = self._absent(now)
        return judge(
            absent,
            self._racks(recent) if len(absent) + len(recent) > 1 else {},
            [self._rack(state.hosts[host]) for host in sorted(recent)],
            frozenset(state.breaker.scopes),
            state.breaker.released_until > self._memory.events.now(),
            self._allowance.left,
            self._settings,
        )

    def declaring(self, hosts: Iterable[str]) -> None:
        """Call before the verdicts are written: a write whose outcome is unknown counts as well."""
        self._recent |= dict.fromkeys(hosts, self._memory.clock())

    def declared(self, judged: Judgement, back: Iterable[str]) -> None:
        """It is written, and these hosts are not lost any more."""
        self.waiting = judged.waiting
        self._allowance = self._allowance.spent(len(judged.lost))
        self._pardoned |= dict.fromkeys(judged.spared, self._memory.clock())
        for host in back:
            self._recent.pop(host, None)
            self._pardoned.pop(host, None)

    def declared_by_operator(self, hosts: Iterable[str]) -> None:
        """Lost or not: an operator knows of them, and their silence counts from now."""
        for host in hosts:
            self._recent.pop(host, None)
            self._pardoned[host] = self._memory.clock()

    def _racks(self, recent: Set[str]) -> Counter[str]:
        """Hosts in each, of those that are not lost or were of late. Of no use while at most one is
        gone, and thousands of hosts are many."""
        return Counter(
            self._rack(record)
            for host, record in self._memory.state.hosts.items()
            if not record.lost or host in recent
        )

    def _absent(self, now: float) -> list[Absent]:
        """Suspect hosts without a verdict."""
        found, reachability = [], self._memory.reachability
        for host, link in self._memory.links.absent.items():
            record = self._memory.state.hosts.get(host)
            # Whoever is left alone for misbehaving answers: it is ill, not silent.
            if link.conduct.left_alone or record is None or record.lost:
                continue
            # One that is distrusted and answers is there: an operator decides about it.
            answered = max(link.heard, self._memory.unproven.answered(host))
            heard = max(answered, self._pardoned.get(host, answered))
            if now - heard >= self._shortest:
                silent = now - max(heard, reachability.reached(host, heard))
                confirmed = reachability.confirms(host, now)
                found.append(Absent(host, self._rack(record), silent, confirmed))
        return found

    def _rack(self, record: HostRecord) -> str:
        return record.labels.get(self._settings.rack_label, "")
