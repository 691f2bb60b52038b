"""The waves of an upgrade, and each of its moves, decided from what hosts say of themselves.

The first wave is one host alone, for as long as no other has the release: what cannot start costs
one host. Each later one is of hosts that are alike in a label, such as their rack. None begins
before all of the one before are back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby

import msgspec

from fleet.texts.release import is_newer
from fleet_controller.core.names import counted, some_of
from fleet_controller.core.upgrades.record import UpgradeRecord, UpgradeState

_WHY = 200  # characters


@dataclass(frozen=True, slots=True)
class AgentSeen:
    """One host's agent. `place`: the host's value of the label that waves go by."""

    host: str
    version: str
    place: str = ""
    live: bool = True
    upgrades: bool = True  # it can be told to
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """`left`: those without the release that are in no wave, each with the reason."""

    upgraded: tuple[str, ...] = ()
    waves: tuple[tuple[str, ...], ...] = ()
    left: Mapping[str, str] = field(default_factory=dict)


def plan(record: UpgradeRecord, agents: Iterable[AgentSeen]) -> Plan:
    """From here on, whatever is under way."""
    seen = sorted(agents, key=lambda one: (one.place, one.host))
    upgraded = tuple(one.host for one in seen if one.version == record.version)
    left = {one.host: why for one in seen if (why := _left_out(record, one))}
    behind = [one for one in seen if one.version != record.version and one.host not in left]
    waves = list(_waves(behind, record.width))
    if waves and not upgraded and len(waves[0]) > 1:
        waves[:1] = [waves[0][:1], waves[0][1:]]
    return Plan(upgraded, tuple(waves), left)


def _waves(behind: Iterable[AgentSeen], width: int) -> Iterator[tuple[str, ...]]:
    for _, alike in groupby(behind, key=lambda one: one.place):
        names = [one.host for one in alike]
        for start in range(0, len(names), width):
            yield tuple(names[start : start + width])


def _left_out(record: UpgradeRecord, one: AgentSeen) -> str:
    """Why a host without the release is in no wave; empty: it is in one, or has the release."""
    if one.version == record.version:
        return ""
    if one.host in record.skipped:
        return "skipped"
    if is_newer(one.version, record.version):
        return f"has {one.version[:40]}, which is newer"
    if one.lost:
        return "is lost"
    if not one.live:
        return "is not live"
    if not one.upgrades:
        return "names no upgrade_command in its settings, or is older than upgrades"
    return ""


def judged(
    record: UpgradeRecord,
    agents: Mapping[str, AgentSeen],
    failures: Mapping[str, str],
    now: float,
    led_for: float,
) -> UpgradeRecord | None:
    """The record once it is halted by hosts of its wave; None: they may go on. `agents`: of those
    under way, as far as they are still hosts. `failures`: what they said, by host. `led_for`: a
    leader that has just begun gives them all their time once more."""
    failed = {
        host: why[:_WHY]
        for host, why in failures.items()
        if host in record.under_way and not _is_back(record, agents.get(host))
    }
    late = [
        host
        for host, since in record.under_way.items()
        if host in agents
        and host not in failed
        and not _is_back(record, agents[host])
        and min(now - since, led_for) > record.seconds
    ]
    if not failed and not late:
        return None
    said = []
    if failed:
        host, why = next(iter(failed.items()))
        more = f" (and {counted(len(failed) - 1, 'more host')})" if len(failed) > 1 else ""
        said.append(f"{host}{more}: {why}")
    if late:
        said.append(
            f"{counted(len(late), 'host')} did not come back with {record.version} within "
            f"{record.seconds:,} s: {some_of(sorted(late))}"
        )
    return msgspec.structs.replace(
        record, state=UpgradeState.HALTED, reason="; ".join(said), failed=failed
    )


def wave_is_back(record: UpgradeRecord, agents: Mapping[str, AgentSeen]) -> bool:
    """Whether all that were begun have the release and are live. One that was removed is not
    waited for."""
    return all(_is_back(record, agents[host]) for host in record.under_way if host in agents)


def _is_back(record: UpgradeRecord, one: AgentSeen | None) -> bool:
    return one is not None and one.live and one.version == record.version


def with_next_wave(record: UpgradeRecord, agents: Iterable[AgentSeen], now: float) -> UpgradeRecord:
    """The next wave is begun, or it is done."""
    planned = plan(record, agents)
    if planned.waves:
        begun = dict.fromkeys(planned.waves[0], now)
        return msgspec.structs.replace(record, under_way=begun)
    reason = ""
    if planned.left:
        host, why = next(iter(planned.left.items()))
        among = f", {host} among them, which {why}" if why != "skipped" else f", {host} among them"
        reason = f"{counted(len(planned.left), 'host')} left as they are{among}"
    return msgspec.structs.replace(
        record, state=UpgradeState.DONE, reason=reason, under_way={}, ended=now
    )
