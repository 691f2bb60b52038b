"""Definitions: what comes back, beside what was asked for."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from lxml import etree

from fleet.v1 import types_pb2 as types
from fleet_agent.core.domain.differences import differences
from fleet_agent.core.domain.domain_mark import (
    parsed,
)
from fleet_agent.core.domain.domain_xml import domain_xml
from fleet_agent.core.domain.flavour import Flavour
from tests.agent.domain_xml.asked_domains import (
    DISK,
    FILE,
    batch,
    definition,
)


class TestDifferences:
    ASKED = domain_xml(
        batch(
            lambda spec: spec.more_disks.add(target="xvdb", path="/dev/sdb", read_only=True),
            lambda spec: spec.more_networks.add(bridge="br1"),
        ),
        250,
        DISK,
        Flavour.XEN,
    )

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda root: None, []),
            (lambda root: drop(root, "os/kernel"), ["kernel /boot/vmlinuz was dropped"]),
            (lambda root: drop(root, "os/initrd"), ["initrd /boot/initrd was dropped"]),
            (lambda root: drop(root, "os/cmdline"), ["command line root=/dev/xvda was dropped"]),
            (
                lambda root: drop(root, "devices/disk"),
                ["disk xvda /dev/zvol/tank/spv-250 was dropped"],
            ),
            (
                lambda root: write(root, "memory", "65536"),
                ["memory is 65536 KiB instead of 73728 KiB"],
            ),
            (lambda root: write(root, "vcpu", "1"), ["vcpus is 1 instead of 2"]),
            (
                lambda root: root.find("devices/disk/target").set("dev", "xvdz"),
                [
                    "disk xvda /dev/zvol/tank/spv-250 was dropped",
                    "disk xvdz /dev/zvol/tank/spv-250 was added",
                ],
            ),
            (
                lambda root: drop(root, "devices/disk[2]"),
                ["disk xvdb /dev/sdb (read-only) was dropped"],
            ),
            (
                lambda root: drop(root, "devices/disk[2]/readonly"),
                ["disk xvdb is /dev/sdb instead of /dev/sdb (read-only)"],
            ),
            (
                lambda root: drop(root, "devices/interface[2]"),
                [
                    "bridge of interface 1 br1 was dropped",
                    "mac of interface 1 06:10:07:00:00:fa was dropped",
                ],
            ),
            (
                lambda root: root.find("devices/interface/mac").set("address", "02:10:07:00:00:FA"),
                [],
            ),
            (
                lambda root: root.find("devices/interface/mac").set("address", "52:54:00:00:00:01"),
                ["mac of interface 0 is 52:54:00:00:00:01 instead of 02:10:07:00:00:fa"],
            ),
        ],
    )
    def test_in_words(self, change: Callable[[etree._Element], object], words: list[str]) -> None:
        given = parsed(self.ASKED)
        change(given)
        assert differences(self.ASKED, etree.tostring(given, encoding="unicode")) == words


def drop(root: etree._Element, path: str) -> None:
    found = root.find(path)
    assert found is not None
    parent = found.getparent()
    assert parent is not None
    parent.remove(found)


def write(root: etree._Element, path: str, text: str) -> None:
    found = root.find(path)
    assert found is not None
    found.text = text


def with_agent(spec: types.FleetSpec) -> None:
    spec.guest_agent = True


def test_a_guest_agent_has_its_channel_where_the_template_says_so_and_is_compared() -> None:
    without, asked = (
        definition(*changes, flavour=Flavour.KVM, disk=FILE) for changes in ((), (with_agent,))
    )
    texts = [
        one if isinstance(one, str) else etree.tostring(one).decode() for one in (without, asked)
    ]
    (target,) = parsed(texts[1]).iterfind("devices/channel/target")
    assert (target.get("type"), target.get("name")) == ("virtio", "org.qemu.guest_agent.0")
    assert "channel" not in texts[0]
    assert differences(texts[1], texts[1]) == []
    assert differences(texts[1], texts[0]) == ["channel org.qemu.guest_agent.0 virtio was dropped"]


def test_xen_has_no_channel_for_it() -> None:
    assert definition(with_agent).find("devices/channel") is None
