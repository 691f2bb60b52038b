"""Reads what a host of QEMU has for its guests, beside what every host has."""

from __future__ import annotations

import re

from fleet_agent.core.limits.dom0_facts import Qemu
from fleet_agent.dom0.host_tree import CannotRead, HostTree

# What libvirt's daemons take where their files say nothing.
LIBVIRT_CLIENTS, VIRTLOGD_CLIENTS = 5000, 1024


def read_qemu(tree: HostTree, emulated: bool, libvirt_conf: str, clone_bytes: int = 0) -> Qemu:
    return Qemu(
        emulated=emulated,
        clone_bytes=clone_bytes,
        hugepages_bytes=_hugepages(tree),
        ksm=_number(tree, "/sys/kernel/mm/ksm/run"),
        vhost_net=tree.at("/dev/vhost-net").exists(),
        tun=tree.at("/dev/net/tun").exists(),
        libvirt_clients=_setting(tree, libvirt_conf, LIBVIRT_CLIENTS),
        virtlogd_clients=_setting(tree, "/etc/libvirt/virtlogd.conf", VIRTLOGD_CLIENTS),
    )


def _hugepages(tree: HostTree) -> int:
    """Of all sizes: Documentation/admin-guide/mm/hugetlbpage."""
    folder, total = "/sys/kernel/mm/hugepages", 0
    for name in tree.names(folder):
        size = re.fullmatch(r"hugepages-(\d+)kB", name)
        if size:
            total += int(size[1]) * 1024 * (_number(tree, f"{folder}/{name}/nr_hugepages") or 0)
    return total


def _setting(tree: HostTree, file: str, default: int) -> int:
    text = tree.text_or_none(file) or ""
    found = re.findall(r"^\s*max_clients\s*=\s*(\d+)\s*$", text, re.MULTILINE)
    return int(found[-1]) if found else default


def _number(tree: HostTree, path: str) -> int | None:
    try:
        return tree.number(path)
    except CannotRead:
        return None
