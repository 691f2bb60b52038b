"""Rebalances, planned and under way: as text and as JSON. Pure: messages in, values out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fleet.v1 import rebalance_pb2 as wire
from fleetctl.outcome import one_line, printable
from fleetctl.output import counted, number
from fleetctl.tables.listing import table

_MOST_HOSTS = 20  # shown of a fleet's plan


def does_anything(plan: wire.RebalancePlan) -> bool:
    """Whether something would move, now or once there is room for it."""
    return bool(plan.fleets)


def plan_json(plan: wire.RebalancePlan) -> dict[str, Any]:
    return {
        "fleets": [_fleet_json(one) for one in plan.fleets],
        "vms": plan.vms,
        "from_hosts": plan.from_hosts,
        "to_hosts": plan.to_hosts,
        "at_once": plan.at_once,
        "token": plan.token,
    }


def _fleet_json(one: wire.FleetRebalance) -> dict[str, Any]:
    return {
        "fleet": one.fleet,
        "vms": one.vms,
        "must": one.must,
        "from_hosts": one.from_hosts,
        "to_hosts": one.to_hosts,
        "off_selector": one.off_selector,
        "above_per_host": one.above_per_host,
        "unplaced": one.unplaced,
        "waiting": one.waiting,
        "why": one.why or None,
        "packed": one.packed,
        "hosts": [
            {"host": h.host, "leave": h.leave, "must_leave": h.must_leave, "come": h.come}
            for h in one.hosts
        ],
        "more_hosts": one.more_hosts,
    }


def status_json(status: wire.RebalanceStatus) -> dict[str, Any]:
    return {
        "only_bounds": status.only_bounds,
        "planned": status.planned,
        "left": status.left,
        "moving": status.moving,
        "unplaced": status.unplaced,
        "waiting": status.waiting,
        "message": status.message or None,
        "since": status.since_unix or None,
        "actor": status.actor or None,
    }


def plan_text(plan: wire.RebalancePlan, again: str) -> str:
    """`again`: the command line that does it, without the token; empty: it is not told."""
    if not does_anything(plan):
        return "nothing is to be moved: every VM stands where it should, and hosts are level"
    texts = ["\n".join(_fleet_lines(one)) for one in plan.fleets]
    if plan.vms:
        texts.append(
            "Each VM that moves is made anew elsewhere: what is on its disk is lost. It runs\n"
            "where it is until the other host has it prepared. At most "
            f"{number(plan.at_once)} are moved\nat once, drains included."
        )
    if again:
        texts.append(
            "To do exactly this, and be refused if anything has changed meanwhile:\n"
            f"  {again} --token {one_line(plan.token)}"
        )
    return "\n\n".join(texts)


def _fleet_lines(one: wire.FleetRebalance) -> Iterable[str]:
    would = f"{counted(one.vms, 'VM')} would move" if one.vms else "no VM can move yet"
    where = f", from {counted(one.from_hosts, 'host')} to {counted(one.to_hosts, 'host')}"
    yield f"{one_line(one.fleet)}: {would}{where if one.vms else ''}"
    yield from (f"  - {sentence}" for sentence in _reasons(one))
    rows = [(one_line(h.host), h.leave, h.must_leave, h.come) for h in one.hosts[:_MOST_HOSTS]]
    if rows:
        yield table(("HOST", "LEAVE", "MUST", "COME"), rows, "  ")
    if more := len(one.hosts) - len(rows) + one.more_hosts:
        yield f"  and {counted(more, 'more host')}"


def _reasons(one: wire.FleetRebalance) -> Iterable[str]:
    if one.off_selector:
        be = "is on a host" if one.off_selector == 1 else "are on hosts"
        yield f"{counted(one.off_selector, 'VM')} {be} that the fleet does not select"
    if one.above_per_host:
        be = "is" if one.above_per_host == 1 else "are"
        yield f"{counted(one.above_per_host, 'VM')} {be} beyond per_host"
    if leveled := one.vms - one.must:
        yield f"{counted(leveled, 'VM')} to make hosts level"
    if one.packed:
        yield "its policy is pack: it is not leveled"
    if one.unplaced:
        fit = "of these fits" if one.unplaced == 1 else "of these fit"
        yield f"{number(one.unplaced)} {fit} nowhere else: {one_line(one.why)}"
    if one.waiting:
        wait = "of these waits" if one.waiting == 1 else "of these wait"
        yield f"{number(one.waiting)} {wait} for hosts that cannot be reached"


def status_text(status: wire.RebalanceStatus) -> str:
    """120 of 400 VMs moved, 30 on their way; 12 VMs fit nowhere: ..."""
    moved = max(0, status.planned - status.left)
    whole = max(status.planned, status.left)
    text = f"{number(moved)} of {counted(whole, 'VM')} moved" if whole else "it waits"
    if status.moving:
        text += f", {number(status.moving)} on their way"
    if status.only_bounds:
        text += ", bounds alone"
    return printable(f"{text}; {status.message}" if status.message else text)


def misplaced_text(fleet: str, misplaced: int) -> str:
    """What to do about VMs that stand where they no longer should."""
    stand = "stands where it" if misplaced == 1 else "stand where they"
    return (
        f"{counted(misplaced, 'VM')} {stand} no longer should: 'fleetctl rebalance "
        f"{one_line(fleet)} --plan'"
    )
