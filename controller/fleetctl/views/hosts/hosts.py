"""Hosts as JSON and as text. Pure: messages in, values out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from fleetctl.outcome import printable
from fleetctl.output import BAD, DOUBTFUL, GOOD, counted, duration, number, painted, utc_text
from fleetctl.tables.column import iso_text
from fleetctl.tables.listing import table
from fleetctl.views.enum_names import health_name
from fleetctl.views.hosts.drains import drain_detail_text, draining_json
from fleetctl.views.hosts.holdings import holdings_json, holdings_rows

# What QEMU's guests are run by, as an agent says of its host: kvm or tcg.
ACCELERATOR_LABEL = "accel"


def host_json(one: cluster.HostSummary) -> dict[str, Any]:
    """`report_age_seconds` is null for a host that was never heard."""
    return {
        "host": one.id,
        "address": one.address,
        "health": health_name(one.health),
        "cordoned": one.cordoned,
        "converged": one.converged,
        "assigned": one.assigned,
        "running": one.running,
        "failed": one.failed,
        "capacity": one.capacity_guests,
        "report_age_seconds": round(age, 3) if (age := one.report_age_seconds) >= 0 else None,
        "link_error": one.link_error,
        "draining": one.draining,
        "quarantine": one.quarantine or None,
        "duplicates": one.duplicates,
        "reached_by": one.reached_by or None,
        "misbehaves": one.misbehaves or None,
        "max_guests": one.max_guests or None,
        "claimed_guests": one.claimed_guests or one.capacity_guests,
        "pinned": one.pinned,
        "awaits_approval": one.awaits_approval,
        "distrusted": one.distrusted or None,
        "expelled": one.expelled or None,
        "certificate_expires": one.certificate_expires_unix or None,
        "to_renew": one.to_renew,
        "orders_refused": one.orders_refused or None,
        "certificate_ends": iso_text(one.certificate_expires_unix),
        "agent_version": one.agent_version or None,
        "upgrades": one.upgrades,
        "hypervisor": one.hypervisor or None,
        "accelerator": one.labels.get(ACCELERATOR_LABEL) or None,
        "memory_bytes": one.memory_bytes or None,
        "images": list(one.images),
        "more_images": one.more_images,
        "labels": dict(sorted(one.labels.items())),
    }


_HEALTH_COLOURS = {"live": GOOD, "unreachable": DOUBTFUL, "suspect": DOUBTFUL, "lost": BAD}


def health_colour(one: cluster.HostSummary) -> str | None:
    troubled = one.misbehaves or one.distrusted or one.expelled or one.orders_refused
    return BAD if troubled or one.quarantine else _HEALTH_COLOURS.get(health_name(one.health))


def standing(one: cluster.HostSummary) -> str:
    """Its health, and what operators or the leader have said of it."""
    said = [
        health_name(one.health),
        "cordoned" if one.cordoned else "",
        "draining" if one.draining else "",
        "quarantine" if one.quarantine else "",
        "misbehaves" if one.misbehaves else "",
        "awaits approval" if one.awaits_approval else "",
        f"reached by {printable(one.reached_by)}" if one.reached_by else "",
        "distrusted" if one.distrusted else "",
        "expelled" if one.expelled else "",
        "takes no orders" if one.orders_refused else "",
    ]
    return ", ".join(word for word in said if word)


def cordon_words(one: cluster.HostSummary) -> str:
    return "cordoned, takes no new VMs" if one.cordoned else "takes VMs"


def cordon_text(one: cluster.HostSummary) -> str:
    """h1: cordoned, takes no new VMs; 250 assigned."""
    return f"{one.id}: {cordon_words(one)}; {number(one.assigned)} assigned"


def _network(one: cluster.HostSummary) -> str:
    """What it means that a standby reaches it; empty when none does, or none was asked."""
    if not one.reached_by:
        return ""
    return (
        f"{one.reached_by} reaches it and the leader does not: it is not declared lost; look at "
        "the network between them"
    )


def _distrust(one: cluster.HostSummary) -> str:
    """What it claims, and what to do; empty where it claims nothing that it cannot prove."""
    if not one.distrusted:
        return ""
    return (
        f"{printable(one.distrusted)}. Where it came from another cluster: "
        f"'fleetctl hosts reset {one.id}'"
    )


def _certificate(one: cluster.HostSummary) -> str:
    """When it ends; empty where that is not known."""
    if not one.certificate_expires_unix:
        return ""
    renews = "; it is about to renew" if one.to_renew else ""
    return f"ends on {utc_text(one.certificate_expires_unix)}{renews}"


def _expulsion(one: cluster.HostSummary) -> str:
    """Why, and how it comes back; empty where it is not expelled."""
    if not one.expelled:
        return ""
    return f"{printable(one.expelled)}; 'fleetctl hosts readmit {one.id}' takes it back"


def _refusal_of_orders(one: cluster.HostSummary) -> str:
    """Why it takes none, and what that means; empty where it takes them."""
    if not one.orders_refused:
        return ""
    return (
        f"cannot take orders: {printable(one.orders_refused)}. Its VMs run on, and it is not "
        "declared lost"
    )


def _heard(one: cluster.HostSummary) -> str:
    return f"{duration(one.report_age_seconds)} ago" if one.report_age_seconds >= 0 else "never"


def labels_text(labels: Mapping[str, str]) -> str:
    return " ".join(f"{key}={value}" for key, value in sorted(labels.items()))


def detail_json(detail: cluster.HostDetail) -> dict[str, Any]:
    names = {fleet.uid: fleet.name for fleet in detail.fleets}
    facts, capacity = detail.facts, detail.facts.capacity
    return host_json(detail.summary) | {
        "facts": {
            "machine_id": facts.machine_id,
            "boot_id": facts.boot_id,
            "incarnation": facts.incarnation,
            "agent_version": facts.agent_version,
            "hypervisor": facts.hypervisor,
            "storage": facts.storage,
            "memory_bytes": capacity.memory_bytes,
            "binding_limit": capacity.binding_limit,
            "boots": capacity.boots or None,
            **holdings_json(facts),
        },
        "shards": [
            {
                "fleet": names.get(one.fleet_uid, one.fleet_uid),
                "indices": ranges_text(one.ranges),
                "vms": ranges_count(one.ranges),
                "generation": one.generation,
                "birth": one.birth,
                "power": "off" if one.power == types.POWER_OFF else "on",
            }
            for one in detail.shards
        ],
        "tombstones": [
            {
                "id": one.id,
                "fleet": names.get(one.fleet_uid, one.fleet_uid),
                "indices": ranges_text(one.ranges),
                "vms": ranges_count(one.ranges),
            }
            for one in detail.tombstones
        ],
        "epoch": _epoch(detail.epoch),
        "reported_epoch": _epoch(detail.reported_epoch),
        "problems": [
            {
                "kind": one.kind,
                "fleet": names.get(one.fleet_uid, one.fleet_uid),
                "count": one.count,
                "example_index": one.example_index,
                "example": one.example_message,
            }
            for one in detail.problems
        ],
        "orphans": [
            {
                "fleet": names.get(one.fleet_uid, one.fleet_uid),
                "indices": ranges_text(one.ranges),
                "birth": one.birth,
            }
            for one in detail.orphans
        ],
        "drain": draining_json(detail),
    }


def _epoch(epoch: types.Epoch) -> dict[str, int]:
    return {"store_generation": epoch.store_generation, "revision": epoch.revision}


def ranges_text(ranges: Iterable[types.IndexRange]) -> str:
    """As people write them: 0-249,300."""
    return ",".join(
        str(one.start) if one.stop == one.start + 1 else f"{one.start}-{one.stop - 1}"
        for one in ranges
    )


def ranges_count(ranges: Iterable[types.IndexRange]) -> int:
    return sum(one.stop - one.start for one in ranges)


def detail_text(detail: cluster.HostDetail, width: int | None = None) -> str:
    """With colours; tables in it fit the width."""
    one = detail.summary
    colours = {"health": health_colour(one), "failed": BAD if one.failed else None}
    colours |= dict.fromkeys(("quarantine", "misbehaves", "distrusted", "expelled", "orders"), BAD)
    colours |= dict.fromkeys(("link", "network"), DOUBTFUL)
    return painted(printable("\n".join(_detail_lines(detail, width))), colours)


def _detail_lines(detail: cluster.HostDetail, width: int | None) -> Iterable[str]:
    one, facts = detail.summary, detail.facts
    health = standing(one)
    named = [
        ("host", one.id),
        ("health", f"{health}, heard {_heard(one)}"),
        ("address", one.address),
        ("labels", labels_text(one.labels)),
        ("hypervisor", facts.hypervisor),
        ("storage", facts.storage),
        *holdings_rows(facts),
        ("agent", facts.agent_version),
        ("capacity", capacity_text(one, _limits_text(facts.capacity))),
        ("assigned", number(one.assigned)),
        ("running", number(one.running)),
        ("failed", number(one.failed)),
        ("duplicates", f"{number(one.duplicates)} that others hold" if one.duplicates else ""),
        ("drain", drain_detail_text(detail) if detail.HasField("drain") else ""),
        ("quarantine", one.quarantine),
        ("misbehaves", one.misbehaves),
        ("link", one.link_error),
        ("network", _network(one)),
        ("distrusted", _distrust(one)),
        ("expelled", _expulsion(one)),
        ("certificate", _certificate(one)),
        ("orders", _refusal_of_orders(one)),
    ]
    yield from (f"{name:<13}{value}" for name, value in named if value)
    held = detail_json(detail)
    for headers, key in (
        (("FLEET", "VMS", "INDICES", "GENERATION", "POWER"), "shards"),
        (("FLEET", "VMS", "INDICES"), "tombstones"),
        (("FLEET", "KIND", "COUNT", "EXAMPLE"), "problems"),
        (("FLEET", "INDICES"), "orphans"),
    ):
        if rows := [tuple(row[head.lower()] for head in headers) for row in held[key]]:
            yield from ("", f"{key}:" if key != "tombstones" else "to be released:")
            yield table(headers, rows, "  ", width)


def _limits_text(capacity: types.Capacity) -> str:
    """cores for emulated guests; at most 141 that boot. Empty: the setting bounds it."""
    boots = f"at most {capacity.boots:,} that boot" if capacity.boots else ""
    return "; ".join(filter(None, (capacity.binding_limit, boots)))


def capacity_text(one: cluster.HostSummary, limit: str = "") -> str:
    """250 VMs (limit); with what it claims, and an operator's bound of it."""
    notes = [
        limit,
        f"it claims {one.claimed_guests:,}" if one.claimed_guests else "",
        f"bound to {one.max_guests:,}" if one.max_guests else "",
        "pinned" if one.pinned else "",
    ]
    said = "; ".join(filter(None, notes))
    return counted(one.capacity_guests, "VM") + (f" ({said})" if said else "")


def bound_text(one: cluster.HostSummary) -> str:
    """What a bound has made of a host's capacity."""
    return printable(f"{one.id}: {capacity_text(one)}; {counted(one.assigned, 'VM')} assigned")


def pinned_text(one: cluster.HostSummary) -> str:
    """Whether what the host announces counts."""
    labels = labels_text(one.labels)
    if not one.pinned:
        when = "at its agent's next start, or when its facts change"
        return printable(f"{one.id}: what it announces counts again, {when}; until then {labels}")
    return printable(f"{one.id}: pinned; {counted(one.capacity_guests, 'VM')}, {labels}")


def approved_text(hosts: Sequence[cluster.HostSummary]) -> str:
    """Which hosts may have VMs now."""
    names = ", ".join(one.id for one in hosts[:5])
    more = f" and {len(hosts) - 5:,} more" if len(hosts) > 5 else ""
    return printable(f"{names}{more} {'is' if len(hosts) == 1 else 'are'} approved")
