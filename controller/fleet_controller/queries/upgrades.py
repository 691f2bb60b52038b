"""Answers about the upgrade of agents, and the agents of one as the leader knows them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from fleet.v1 import upgrade_pb2 as wire
from fleet_controller.core.upgrades.record import UpgradeRecord, UpgradeState
from fleet_controller.core.upgrades.waves import AgentSeen, plan
from fleet_controller.leader.memory import LeaderMemory

# Of what is told by name.
WAVES = 100
LEFT = 100
VERSIONS = 20
_EXAMPLES = 3
_STATES = {
    UpgradeState.RUNNING: wire.UpgradeStatus.STATE_RUNNING,
    UpgradeState.HALTED: wire.UpgradeStatus.STATE_HALTED,
    UpgradeState.DONE: wire.UpgradeStatus.STATE_DONE,
    UpgradeState.CANCELLED: wire.UpgradeStatus.STATE_CANCELLED,
}


def agent_seen(memory: LeaderMemory, record: UpgradeRecord, host_id: str) -> AgentSeen | None:
    """None where there is no such host any more, or it is expelled."""
    host = memory.state.hosts.get(host_id)
    if host is None or memory.is_expelled(host_id):
        return None
    return AgentSeen(
        host_id,
        host.agent_version,
        host.labels.get(record.wave_label, ""),
        memory.is_live(host_id),
        host.upgrades,
        host.lost,
    )


def agents_seen(memory: LeaderMemory, record: UpgradeRecord) -> Iterator[AgentSeen]:
    """All that the upgrade is about."""
    named = frozenset(record.hosts)
    for host_id, host in memory.state.hosts.items():
        if named and host_id not in named:
            continue
        if any(host.labels.get(key) != value for key, value in record.selector.items()):
            continue
        if seen := agent_seen(memory, record, host_id):
            yield seen


def upgrade_status(
    memory: LeaderMemory, record: UpgradeRecord, *, planned: bool = False, brief: bool = False
) -> wire.UpgradeStatus:
    """`planned`: of what would be begun. `brief`: without the waves and versions."""
    agents = {one.host: one for one in agents_seen(memory, record)}
    under_way = {} if planned else record.under_way
    ahead = plan(record, (one for one in agents.values() if one.host not in under_way))
    now = memory.events.now()
    upgraded = sum(one.version == record.version for one in agents.values())
    going = [
        (host, since)
        for host, since in sorted(under_way.items())
        if host in agents and not (agents[host].live and agents[host].version == record.version)
    ]
    return wire.UpgradeStatus(
        state=wire.UpgradeStatus.STATE_PLANNED if planned else _STATES[record.state],
        version=record.version,
        reason=record.reason,
        hosts=len(agents),
        upgraded=upgraded,
        to_go=sum(map(len, ahead.waves)),
        waves=[] if brief else [_wave(agents, one) for one in ahead.waves[:WAVES]],
        more_waves=0 if brief else len(ahead.waves[WAVES:]),
        under_way=[
            wire.UpgradingHost(
                host=host,
                seconds=max(0.0, now - since),
                version=agents[host].version,
                live=agents[host].live,
                why=record.failed.get(host, ""),
            )
            for host, since in going
        ],
        left=[
            wire.HostLeftBehind(host=host, why=why, version=agents[host].version)
            for host, why in list(ahead.left.items())[:LEFT]
        ],
        left_hosts=len(ahead.left),
        versions=[] if brief else _versions(agents.values()),
        wave_label=record.wave_label,
        width=record.width,
        seconds=record.seconds,
        selector=dict(record.selector),
        actor=record.actor,
        began_unix=record.began,
        ended_unix=record.ended,
    )


def open_upgrade(memory: LeaderMemory) -> wire.UpgradeStatus | None:
    """Of the one that runs or is halted, in brief; None: there is none."""
    record = memory.state.upgrade
    if record is None or not record.is_open:
        return None
    return upgrade_status(memory, record, brief=True)


def _wave(agents: dict[str, AgentSeen], hosts: tuple[str, ...]) -> wire.UpgradeWave:
    return wire.UpgradeWave(
        value=agents[hosts[0]].place, hosts=len(hosts), examples=hosts[:_EXAMPLES]
    )


def _versions(agents: Iterable[AgentSeen]) -> list[wire.VersionCount]:
    counts = Counter(one.version for one in agents)
    return [
        wire.VersionCount(version=version, hosts=hosts)
        for version, hosts in counts.most_common(VERSIONS)
    ]
