"""All hosts, as Prometheus discovers targets over HTTP."""

from __future__ import annotations

from collections.abc import Iterable

from fleet_controller.core.model import HostRecord

Target = dict[str, list[str] | dict[str, str]]


def scrape_targets(hosts: Iterable[HostRecord], port: int, rack_label: str) -> list[Target]:
    """A group for each host: the address it has announced, with the port on which agents serve
    metrics, and as labels its name and its rack."""
    return [
        {
            "targets": [f"{host.address.rpartition(':')[0]}:{port}"],
            "labels": {"host": host.id, "rack": host.labels.get(rack_label, "")},
        }
        for host in sorted(hosts, key=lambda one: one.id)
        if host.address
    ]
