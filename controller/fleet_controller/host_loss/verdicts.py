"""What is said of hosts: lost, back again, in quarantine; and the breaker of the first.

By time: once a second everything is judged anew from links, reports and the store
(core/loss.py, core/quarantine.py), and standbys are asked about whoever would be lost before that
is written (inquiry.py). By operators: at once, whatever budget and breaker say. A
verdict is a field of the host's record, or the breaker's record; placement follows from those.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from fleet.keys import Epoch
from fleet_controller.changes.fleets import Operations
from fleet_controller.core.audit import BY_LEADER
from fleet_controller.core.host_loss.loss import Absent, Allowance, Judgement, bucket, judge
from fleet_controller.core.host_loss.quarantine import Failure, Patient, sick
from fleet_controller.core.model import BreakerRecord, Health, HostRecord
from fleet_controller.core.names import some_of
from fleet_controller.core.refusals import Reason, Refused, known_host
from fleet_controller.host_loss.standby_poll import MORE_SECONDS, Inquiry
from fleet_controller.leader.reign import Reign
from fleet_controller.mirror.committer import Outdated, Write
from fleet_controller.store import keys
from fleet_controller.store.codec import encode
from fleet_controller.store.port import Put, StoreError

LONGEST_RELEASE = 7 * 86_400.0
_TOLD = 5  # hosts with an event each


class Verdicts:
    """One leadership's. Times are of the leader's monotonic clock, in seconds, but for those of
    the breaker's record. `leader`: the name of this replica."""

    def __init__(self, reign: Reign, operations: Operations, leader: str) -> None:
        self._reign = reign
        self._operations = operations
        self._inquiry = Inquiry(reign, leader)
        self._settings = reign.settings.loss
        self._allowance = Allowance(bucket(self._settings), reign.now())
        # When this leader began to judge: all hosts known then were dialled before.
        self._began: float | None = None
        # Hosts lost by time, and when.
        self._recent: dict[str, float] = {}
        suspect = reign.settings.links.times.suspect_after
        # Seconds of silence after which a host counts as gone.
        self._shortest = min(suspect, self._settings.lost_after or suspect)
        self._pardoned: dict[str, float] = {}  # silence counts from here
        self._sick_since: dict[str, float] = {}
        self.waiting = 0  # hosts that are due and held by the breaker

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(self._reign.settings.judge_interval)
            if not self._reign.plans_freely:
                continue
            self._begin(self._reign.now())
            self._inquiry.forget_settled()
            if not self._anything_amiss():
                continue
            await self._inquire()
            try:
                async with self._reign.changing:
                    if self._reign.plans_freely:
                        await self._judge()
            except (Outdated, StoreError):
                continue  # the same is found again; the planning loop says what troubles the store

    # ---- by operators --------------------------------------------------------------------

    async def declare_lost(self, hosts: Sequence[str], lost: bool, actor: str) -> None:
        """The verdict given or taken back, of all or none. Raises Refused, StoreError."""

        async def once() -> list[str]:
            records = [self._known(host) for host in dict.fromkeys(hosts)]
            live = [one.id for one in records if self._is_live(one.id)]
            if lost and live:
                raise Refused(
                    Reason.HOST_LIVE,
                    f"{some_of(live)} {'is' if len(live) == 1 else 'are'} live and cannot be lost; "
                    "cordon or drain such a host",
                )
            changed = [one for one in records if one.lost != lost]
            action = "declare_lost" if lost else "declare_lost_undo"
            writes = _records(changed, lost=lost)
            told = [self._reign.audit.entry(action, actor, host=one.id) for one in changed]
            await self._reign.committer.write(_together(writes, told))
            return [one.id for one in changed]

        changed = await self._operations.until_written(once)
        for host in hosts:
            self._recent.pop(host, None)
            self._pardoned[host] = self._reign.now()
        self._tell("host_lost" if lost else "host_lost_undone", changed, "an operator", actor)
        self._reign.wake()

    async def release_quarantine(self, host_id: str, actor: str) -> None:
        """The host gets VMs again. Raises Refused, StoreError."""

        async def once() -> HostRecord:
            record = self._known(host_id)
            if record.quarantine:
                told = self._reign.audit.entry(
                    "release_quarantine", actor, host=host_id, before=record.quarantine
                )
                await self._reign.committer.write_one([*_records([record], quarantine=""), told])
            return record

        if (await self._operations.until_written(once)).quarantine:
            self._sick_since.pop(host_id, None)
            text = f"{host_id} is out of quarantine"
            self._reign.events.add("host_released", text, host=host_id, actor=actor)
            self._reign.wake()

    async def release_breaker(self, seconds: float, actor: str) -> float:
        """Hosts are lost by time whatever else is gone, for so long; until when, in seconds
        since 1970. Raises Refused, StoreError."""
        if not 0 <= seconds <= LONGEST_RELEASE:
            raise Refused(
                Reason.BAD_QUERY, f"the breaker is released for 0 to {LONGEST_RELEASE:,.0f} s"
            )
        until = self._reign.events.now() + (seconds or self._settings.release)

        async def once() -> None:
            record = BreakerRecord(released_until=until)
            told = self._reign.audit.entry(
                "release_breaker", actor, before=self._reign.state.breaker.reason,
                after=f"for {seconds or self._settings.release:,.0f} s",
            )  # fmt: skip
            await self._reign.committer.write_one([Put(keys.BREAKER, encode(record)), told])

        await self._operations.until_written(once)
        text = f"the breaker is released for {seconds or self._settings.release:,.0f} s"
        self._reign.events.add("breaker_released", text, actor=actor)
        return until

    # ---- by time -------------------------------------------------------------------------

    def _anything_amiss(self) -> bool:
        links, state = self._reign.links, self._reign.state
        return bool(
            links.by_health[Health.LIVE] != len(links.links)
            or state.lost
            or state.breaker.scopes
            or self._reign.observed.troubled
            or self._sick_since
        )

    def _begin(self, now: float) -> float:
        """When it began. Hosts lost before that have been lost then, for all that is known."""
        if self._began is None:
            self._began = now
            self._recent = dict.fromkeys(self._reign.state.lost, now)
        return self._began

    async def _inquire(self) -> None:
        """Without holding the lock: a standby that does not answer holds nobody else up."""
        began = self._reign.now()
        while about := self._inquiry.about(self._judged().unconfirmed):
            await self._inquiry.ask(about)
            if self._reign.now() - began >= MORE_SECONDS:
                return

    async def _judge(self) -> None:
        back = self._returned()
        judged = self._judged()
        ill = self._ill()
        state = self._reign.state
        writes = _records([state.hosts[host] for host in back], lost=False)
        writes += _records([state.hosts[host] for host in judged.lost], lost=True)
        for host, why in ill.items():
            writes += _records([state.hosts[host]], quarantine=why)
        told = [self._audited("host_returned", host) for host in back]
        told += [self._audited("declare_lost", host, self._silent) for host in judged.lost]
        told += [self._audited("quarantine", host, why) for host, why in ill.items()]
        before = state.breaker
        if set(judged.scopes) != set(before.scopes):
            writes.append(Put(keys.BREAKER, encode(self._breaker(judged))))
            told.append(self._audited("breaker", after=judged.reason or "closed"))
        # Before it is known what comes of it: what is written and not answered counts as well.
        self._recent |= dict.fromkeys(judged.lost, self._reign.now())
        await self._reign.committer.write(_together(writes, told))
        self.waiting = judged.waiting
        self._note(back, judged, ill, before)

    def _note(
        self,
        back: Sequence[str],
        judged: Judgement,
        ill: Mapping[str, str],
        before: BreakerRecord,
    ) -> None:
        """What was written, remembered and said."""
        now = self._reign.now()
        self._allowance = self._allowance.spent(len(judged.lost))
        self._pardoned |= dict.fromkeys(judged.spared, now)
        for host in back:
            self._recent.pop(host, None)
            self._pardoned.pop(host, None)
        self._tell("host_lost", judged.lost, self._silent)
        self._tell("host_returned", back, "it has its assignment")
        for host, why in ill.items():
            self._reign.events.add("host_quarantined", f"{host} is in quarantine: {why}", host=host)
        if set(judged.scopes) - set(before.scopes):
            text = f"lost hosts are not replaced: {judged.reason}"
            self._reign.events.add("breaker_opened", text)
        elif before.scopes and not judged.scopes:
            self._reign.events.add("breaker_closed", "lost hosts are replaced again")
        if back or judged.lost or ill:
            self._reign.wake()

    @property
    def _silent(self) -> str:
        """Why a host is lost by time."""
        return f"no word for {self._settings.lost_after:,.0f} s"

    def _audited(self, action: str, host: str = "", after: str = "") -> Write:
        return self._reign.audit.entry(action, BY_LEADER, host=host, after=after)

    def _returned(self) -> list[str]:
        """Lost hosts that are there and have taken their assignment, tombstones and all."""
        links = self._reign.links.links
        return [
            host
            for host in sorted(self._reign.state.lost)
            if self._is_live(host)
            and links[host].acknowledged >= self._epoch(host)
            and host not in self._reign.strangers.hosts
        ]

    def _epoch(self, host: str) -> Epoch:
        """Of the host's assignment; that of one never assigned anything is below all."""
        revision = self._reign.state.mod_revision(keys.assignment(host))
        return Epoch(self._reign.state.meta.generation if revision else 0, revision)

    def _judged(self) -> Judgement:
        state, now = self._reign.state, self._reign.now()
        if now - self._begin(now) < self._shortest:
            # Nobody can have been silent for long yet: what an earlier leader found may still be.
            return Judgement((), state.breaker.scopes, state.breaker.reason, self.waiting)
        window = now - self._settings.window
        self._recent = {host: at for host, at in self._recent.items() if at > window}
        recent = self._recent.keys() & state.lost
        self._allowance = self._allowance.grown(now, self._settings)
        return judge(
            self._absent(now),
            Counter(
                self._rack(record)
                for host, record in state.hosts.items()
                if not record.lost or host in recent
            ),
            [self._rack(state.hosts[host]) for host in sorted(recent)],
            frozenset(state.breaker.scopes),
            state.breaker.released_until > self._reign.events.now(),
            self._allowance.left,
            self._settings,
        )

    def _absent(self, now: float) -> list[Absent]:
        """Suspect hosts without a verdict."""
        found, vouching = [], self._reign.vouching
        for host, link in self._reign.links.links.items():
            record = self._reign.state.hosts.get(host)
            if link.health is Health.LIVE or record is None or record.lost:
                continue
            heard = max(link.heard, self._pardoned.get(host, link.heard))
            if now - heard >= self._shortest:
                silent = now - max(heard, vouching.reached(host, heard))
                confirmed = vouching.confirms(host, now)
                found.append(Absent(host, self._rack(record), silent, confirmed))
        return found

    def _rack(self, record: HostRecord) -> str:
        return record.labels.get(self._settings.rack_label, "")

    def _breaker(self, judged: Judgement) -> BreakerRecord:
        before = self._reign.state.breaker
        since = before.since if before.scopes else self._reign.events.now()
        return BreakerRecord(
            judged.scopes,
            judged.reason,
            since if judged.scopes else 0.0,
            before.released_until,
        )

    def _ill(self) -> dict[str, str]:
        """Hosts to put in quarantine: those that have failed for long enough."""
        settings, now = self._reign.settings.quarantine, self._reign.now()
        found = sick(self._patients(), self._reign.observed.users, settings)
        since = {host: self._sick_since.get(host, now) for host in found}
        self._sick_since = since
        return {host: why for host, why in found.items() if now - since[host] >= settings.after}

    def _patients(self) -> list[Patient]:
        observed, state = self._reign.observed, self._reign.state
        return [
            Patient(
                host,
                sum(len(shard.ranges) for shard in observed.hosts[host].assignment.shards),
                tuple(
                    Failure(one.fleet_uid, one.kind, one.count, one.example_message)
                    for one in observed.hosts[host].problems
                ),
            )
            for host in sorted(observed.troubled)
            if self._is_live(host)
            and (record := state.hosts.get(host)) is not None
            and not (record.quarantine or record.lost)
        ]

    # ---- both ----------------------------------------------------------------------------

    def _known(self, host_id: str) -> HostRecord:
        return known_host(self._reign.state.hosts, host_id)

    def _is_live(self, host_id: str) -> bool:
        link = self._reign.links.links.get(host_id)
        return link is not None and link.health is Health.LIVE

    def _tell(self, kind: str, hosts: Sequence[str], why: str, actor: str = "") -> None:
        """One event each when few, one for all when many."""
        word = kind.removeprefix("host_").replace("lost_undone", "not lost any more")
        if len(hosts) <= _TOLD:
            for host in hosts:
                self._reign.events.add(kind, f"{host} is {word}: {why}", host=host, actor=actor)
        else:
            text = f"{len(hosts):,} hosts are {word}, {hosts[0]} among them: {why}"
            self._reign.events.add(kind, text, actor=actor)


def _together(writes: Sequence[Write], told: Sequence[Write]) -> list[Write]:
    """Each with the line that tells it beside it: a cut into transactions parts none of them."""
    return [one for pair in zip(writes, told, strict=True) for one in pair]


def _records(hosts: Iterable[HostRecord], **changes: object) -> list[Write]:
    return [
        Put(keys.host(one.id), encode(msgspec.structs.replace(one, **changes))) for one in hosts
    ]
