"""Whether a cluster needs somebody, from its status: a verdict with reasons. Pure.

What counts as what is said in docs/operations.md, "Checks", and with which bounds in the table of
docs/monitoring.md, "Thresholds": they go together. What is on its way by itself (VMs that are being
made, a drain, a leader that has just begun) is no reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import upgrade_pb2 as upgrade
from fleetctl.outcome import one_line
from fleetctl.output import counted, duration, number
from fleetctl.views.fleets.fleet_status import states_of
from megafleet.progress import running

# Of a fleet's VMs, and of all hosts: what is amiss is critical from here on.
CRITICAL_SHARE = 0.05
# Before a certificate ends, in seconds.
WARNING_SECONDS = 7 * 86_400
CRITICAL_SECONDS = 86_400
_REASONS = 5  # in the line
_STILL_RELEASED = "releasing"  # why VMs are unplaced that will be placed without anybody


class Level(IntEnum):
    """As plugins of Nagios end: the value is the exit code."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


@dataclass(frozen=True, slots=True)
class Reason:
    """`name` is stable, for scripts; `text` a sentence without an end."""

    level: Level
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """`reasons`: the worst first; none when all is well. `summary`: how the cluster stands."""

    level: Level
    reasons: tuple[Reason, ...]
    summary: str
    figures: tuple[tuple[str, int], ...] = ()


def verdict_of(status: cluster.StatusResponse, now: float) -> Verdict:
    """`now`: seconds since 1970, for the ends of certificates."""
    reasons = sorted(_reasons(status, now), key=lambda one: -one.level)
    level = reasons[0].level if reasons else Level.OK
    return Verdict(level, tuple(reasons), _summary(status), tuple(_figures(status)))


def unknown(why: str, name: str = "no_answer") -> Verdict:
    """Nothing could be found out, for this reason."""
    return Verdict(Level.UNKNOWN, (Reason(Level.UNKNOWN, name, why),), "")


def no_leader(why: str) -> Verdict:
    """Controllers answer, and say that none of them leads."""
    return Verdict(Level.CRITICAL, (Reason(Level.CRITICAL, "no_leader", why),), "")


def check_line(verdict: Verdict) -> str:
    """MEGAFLEET WARNING - 2 hosts are not heard; 1 more reason | running=998 wanted=1000 ..."""
    texts = [one.text for one in verdict.reasons[:_REASONS]] or [verdict.summary]
    if (more := len(verdict.reasons) - _REASONS) > 0:
        texts.append(counted(more, "more reason"))
    # What follows a bar are figures.
    said = one_line("; ".join(texts)).replace("|", "/")
    figures = " ".join(f"{name}={value}" for name, value in verdict.figures)
    return f"MEGAFLEET {verdict.level.name} - {said}" + (f" | {figures}" if figures else "")


def check_json(verdict: Verdict) -> dict[str, Any]:
    return {
        "check": verdict.level.name,
        "code": int(verdict.level),
        "summary": verdict.summary or None,
        "reasons": [
            {"level": one.level.name, "reason": one.name, "message": one.text}
            for one in verdict.reasons
        ],
        "figures": dict(verdict.figures),
    }


def _reasons(status: cluster.StatusResponse, now: float) -> Iterator[Reason]:
    yield from _cluster_reasons(status)
    for fleet in status.fleets:
        yield from _fleet_reasons(fleet)
    if not status.HasField("settling"):  # a leader that has just begun has not heard all
        yield from _host_reasons(status.hosts)
    if status.HasField("store"):
        yield from _store_reasons(status.store)
    yield from _certificate_reasons(status.certificates, now)


def _cluster_reasons(status: cluster.StatusResponse) -> Iterator[Reason]:
    critical = Level.CRITICAL
    if status.read_only:
        yield Reason(critical, "no_leader", status.read_only)
    if status.HasField("freeze"):
        yield Reason(critical, "frozen", f"changes are frozen: {status.freeze.reason}")
    if status.HasField("breaker"):
        why = f"the breaker is open, lost hosts are not replaced: {status.breaker.reason}"
        yield Reason(critical, "breaker_open", why)
    if status.upgrade.state == upgrade.UpgradeStatus.STATE_HALTED:
        why = f"the upgrade of agents to {status.upgrade.version} has halted"
        because = f": {status.upgrade.reason}" if status.upgrade.reason else ""
        yield Reason(Level.WARNING, "upgrade", why + because)


def _fleet_reasons(fleet: cluster.FleetStatus) -> Iterator[Reason]:
    def share(name: str, count: int, text: str) -> Iterator[Reason]:
        if count:
            level = _level(count, fleet.total)
            of = f"{counted(count, 'VM')} of {fleet.fleet}"
            yield Reason(level, name, f"{of} {text}")

    if not fleet.deleting:
        yield from share("failed", states_of(fleet)["failed"], f"failed{_most_common(fleet)}")
        nowhere = sum(one.count for one in fleet.unplaced_reasons if one.reason != _STILL_RELEASED)
        yield from share("unplaced", min(nowhere, fleet.unplaced), "fit nowhere")
    yield from share("on_lost_hosts", fleet.on_lost_hosts, "wait for lost hosts")
    if fleet.duplicates:
        text = f"{counted(fleet.duplicates, 'VM')} of {fleet.fleet} may run twice"
        yield Reason(Level.WARNING, "duplicates", text)
    if fleet.schedule.problem and not fleet.deleting:
        text = f"the schedule of {fleet.fleet} is not carried out: {fleet.schedule.problem}"
        yield Reason(Level.WARNING, "schedule", text)
    if fleet.HasField("rollout"):
        yield from _rollout_reasons(fleet.fleet, fleet.rollout)


def _most_common(fleet: cluster.FleetStatus) -> str:
    """The kind of problem that most of its VMs have."""
    worst = max(fleet.problems, key=lambda one: one.count, default=None)
    return f", most of them as {worst.kind}" if worst and worst.count else ""


def _rollout_reasons(fleet: str, rollout: cluster.RolloutStatus) -> Iterator[Reason]:
    if rollout.state == "halted" or rollout.held_up:
        how = "has halted" if rollout.state == "halted" else "is held up by VMs that failed"
        why = f": {rollout.message}" if rollout.message else ""
        yield Reason(Level.WARNING, "rollout", f"the rollout of {fleet} {how}{why}")
    if rollout.forgotten:
        waits = f"has waited for its promotion for {duration(rollout.waiting_seconds)}"
        yield Reason(Level.WARNING, "canary_forgotten", f"the rollout of {fleet} {waits}")


def _host_reasons(hosts: cluster.HostCounts) -> Iterator[Reason]:
    away = hosts.unreachable + hosts.suspect
    if gone := away + hosts.lost:
        parts = [f"{number(away)} not heard"] if away else []
        parts += [f"{number(hosts.lost)} lost"] if hosts.lost else []
        text = f"of {counted(hosts.total, 'host')} {', '.join(parts)}"
        yield Reason(_level(gone, hosts.total), "hosts_gone", text)
    for count, name, text in (
        (hosts.cut_off, "cut_off", "cut off from the leader"),
        (hosts.quarantined, "quarantined", "in quarantine"),
        (hosts.misbehaving, "misbehaving", "misbehaving"),
        (hosts.distrusted, "distrusted", "distrusted"),
        (hosts.orders_refused, "orders_refused", "taking no orders"),
    ):
        if count:
            yield Reason(Level.WARNING, name, f"{counted(count, 'host')} {text}")


def _store_reasons(store: cluster.StoreHealth) -> Iterator[Reason]:
    """A member that is away is a warning: the store goes on, and may not lose another. An alarm of
    its own, or a read that failed, means that nothing can be changed now or soon."""
    alarms = any(one.alarms for one in store.members)
    unread = bool(store.members) and not store.read_seconds
    level = Level.CRITICAL if alarms or unread else Level.WARNING
    for trouble in store.troubles:
        yield Reason(level, "store", f"store: {trouble}")
    if unread and not store.troubles:
        yield Reason(level, "store", "store: its last read failed")


def _certificate_reasons(
    certificates: Iterable[cluster.ExpiringCertificate], now: float
) -> Iterator[Reason]:
    for one in certificates:
        left = one.expires_unix - now
        if left > WARNING_SECONDS:
            continue
        level = Level.CRITICAL if left <= CRITICAL_SECONDS else Level.WARNING
        when = "has ended" if left <= 0 else f"ends in {left / 86_400:.1f} days"
        yield Reason(level, "certificate", f"the certificate of {one.holder} {when}")


def _level(count: int, of: int) -> Level:
    return Level.CRITICAL if count >= max(1.0, of * CRITICAL_SHARE) and of else Level.WARNING


def _summary(status: cluster.StatusResponse) -> str:
    figures = dict(_figures(status))
    up, wanted = number(figures["running"]), counted(figures["wanted"], "VM")
    hosts = f"{number(status.hosts.live)} of {counted(status.hosts.total, 'host')} live"
    settling = "; the leader has just begun" if status.HasField("settling") else ""
    return f"{up} of {wanted} running, {hosts}{settling}"


def _figures(status: cluster.StatusResponse) -> Iterator[tuple[str, int]]:
    fleets = status.fleets
    yield "running", sum(running(one) for one in fleets)
    yield "wanted", sum(one.total - min(one.total, one.powered_off) for one in fleets)
    yield "failed", sum(states_of(one)["failed"] for one in fleets)
    yield "unplaced", sum(one.unplaced for one in fleets)
    yield "hosts_live", status.hosts.live
    yield "hosts", status.hosts.total
