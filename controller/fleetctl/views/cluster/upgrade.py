"""The upgrade of agents, as text and as JSON. Pure: messages in, values out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from fleet.v1 import upgrade_pb2 as wire
from fleetctl.outcome import printable
from fleetctl.output import BAD, DOUBTFUL, GOOD, counted, duration, number

_State = wire.UpgradeStatus.State
_WORDS = {
    _State.STATE_PLANNED: "planned",
    _State.STATE_RUNNING: "running",
    _State.STATE_HALTED: "halted",
    _State.STATE_DONE: "done",
    _State.STATE_CANCELLED: "cancelled",
}
_COLOURS = {"running": DOUBTFUL, "halted": BAD, "cancelled": BAD, "done": GOOD}
_NAMED = 5  # lines of what is many


def state_word(status: wire.UpgradeStatus) -> str:
    return _WORDS.get(status.state, "unknown")


def upgrade_json(status: wire.UpgradeStatus) -> dict[str, Any]:
    return {
        "version": status.version,
        "state": state_word(status),
        "reason": status.reason or None,
        "hosts": status.hosts,
        "upgraded": status.upgraded,
        "to_go": status.to_go,
        "under_way": [
            {
                "host": one.host,
                "seconds": round(one.seconds, 3),
                "version": one.version,
                "live": one.live,
                "why": one.why or None,
            }
            for one in status.under_way
        ],
        "left": [{"host": one.host, "why": one.why, "version": one.version} for one in status.left],
        "left_hosts": status.left_hosts,
        "waves": [
            {"value": one.value or None, "hosts": one.hosts, "examples": list(one.examples)}
            for one in status.waves
        ],
        "more_waves": status.more_waves,
        "versions": {one.version: one.hosts for one in status.versions},
        "waves_by": status.wave_label,
        "width": status.width,
        "back_within_seconds": status.seconds,
        "labels": dict(status.selector),
        "actor": status.actor or None,
        "began": status.began_unix or None,
        "ended": status.ended_unix or None,
    }


def upgrade_line(status: wire.UpgradeStatus) -> str:
    """to 0.2.0, running: 12 of 40 hosts have it, 4 under way, 24 to go; ..."""
    counts = [f"{number(status.upgraded)} of {counted(status.hosts, 'host')} have it"]
    failed = sum(bool(one.why) for one in status.under_way)
    going = len(status.under_way) - failed
    counts += [f"{number(going)} under way"] if going else []
    counts += [f"{number(failed)} failed"] if failed else []
    counts += [f"{number(status.to_go)} to go"] if status.to_go else []
    counts += [f"{number(status.left_hosts)} left out"] if status.left_hosts else []
    reason = f"; {status.reason}" if status.reason else ""
    return printable(f"to {status.version}, {state_word(status)}: {', '.join(counts)}{reason}")


def coloured_line(status: wire.UpgradeStatus) -> str:
    state, text = state_word(status), upgrade_line(status)
    return text.replace(f", {state}:", f", {click.style(state, fg=_COLOURS.get(state))}:", 1)


def upgrade_text(status: wire.UpgradeStatus) -> str:
    """For people: how far, who is under way, who is left out and why."""
    return "\n".join([coloured_line(status), *_details(status)])


def _details(status: wire.UpgradeStatus) -> Iterator[str]:
    for one in status.under_way[:_NAMED]:
        live = "live" if one.live else "away"
        state = f"{live}, {one.version or 'an unknown release'}, for {duration(one.seconds)}"
        what, words = ("failed", one.why) if one.why else ("under way", state)
        yield printable(f"  {what:<12} {one.host}: {words}")
    if (more := len(status.under_way) - _NAMED) > 0:
        yield f"  under way    {counted(more, 'more host')}"
    yield from _left_lines(status)


def _left_lines(status: wire.UpgradeStatus) -> Iterator[str]:
    """By reason, the most hosts first."""
    by_reason: dict[str, list[str]] = {}
    for one in status.left:
        by_reason.setdefault(one.why, []).append(one.host)
    shown = sorted(by_reason.items(), key=lambda group: -len(group[1]))
    for why, hosts in shown[:_NAMED]:
        few = ", ".join(hosts[:3]) + (" ..." if len(hosts) > 3 else "")
        yield printable(f"  left out     {counted(len(hosts), 'host')} ({few}): {why}")
    if (more := status.left_hosts - sum(len(hosts) for _, hosts in shown[:_NAMED])) > 0:
        yield f"  left out     {counted(more, 'more host')}"


def plan_text(status: wire.UpgradeStatus) -> str:
    """What would be done, and what could not."""
    lines = [
        f"to {printable(status.version)}: {counted(status.to_go, 'host')} in "
        f"{counted(len(status.waves) + status.more_waves, 'wave')}, {number(status.upgraded)} have "
        "it already"
    ]
    have = ", ".join(
        f"{printable(one.version) or 'unknown'} on {counted(one.hosts, 'host')}"
        for one in status.versions
    )
    lines += [f"  now          {have}"] if have else []
    for count, one in enumerate(status.waves[: 2 * _NAMED], 1):
        few = ", ".join(one.examples) + (" ..." if one.hosts > len(one.examples) else "")
        place = f"{status.wave_label}={one.value}" if one.value else f"no {status.wave_label}"
        what = f"{place}: {counted(one.hosts, 'host')} ({few})"
        lines.append(printable(f"  wave {count:<7} {what}"))
    if (more := len(status.waves) + status.more_waves - 2 * _NAMED) > 0:
        lines.append(f"  then         {counted(more, 'more wave')}")
    lines += _left_lines(status)
    lines.append(
        f"  halts        when a host fails, or is not back within {duration(status.seconds)}"
    )
    lines.append("VMs are not touched.")
    return "\n".join(lines)
