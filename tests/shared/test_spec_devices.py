"""Bounds of what a VM starts from, its disks and its interfaces, which hang on one another."""

from __future__ import annotations

import pytest

from fleet.spec import check_spec
from fleet.v1 import types_pb2 as types
from tests.shared.good_spec import good

FIRMWARE = types.Boot(firmware=types.FIRMWARE_BIOS)
LOADER = types.Boot(loader=types.LOADER_PVGRUB)


@pytest.mark.parametrize("boot", [FIRMWARE, LOADER, types.Boot(firmware=types.FIRMWARE_UEFI)])
def test_what_starts_the_disk_takes_no_initrd_and_no_command_line_and_needs_a_disk(
    boot: types.Boot,
) -> None:
    spec = good()
    spec.boot.CopyFrom(boot)
    assert check_spec(spec) == []
    way = "boot.loader" if boot.loader else "boot.firmware"
    spec.boot.initrd, spec.boot.cmdline, spec.disk.target = "/boot/initrd", "quiet", ""
    assert check_spec(spec) == [
        f"boot.initrd: belongs to boot.kernel; {way} starts what the disk holds",
        f"boot.cmdline: belongs to boot.kernel; {way} starts what the disk holds",
        f"disk.target: must be given, since {way} starts from the disk",
    ]


def test_all_ways_that_are_given_are_named_where_there_is_more_than_one() -> None:
    spec = good()
    spec.boot.MergeFrom(FIRMWARE)
    spec.boot.MergeFrom(LOADER)
    assert check_spec(spec) == [
        "boot: must have one of kernel, firmware and loader, and has kernel and firmware and loader"
    ]


def test_firmware_starts_from_a_whole_disk_and_others_from_a_partition_as_well() -> None:
    spec = good()
    spec.disk.target = "xvda2"
    assert check_spec(spec) == []
    spec.boot.CopyFrom(LOADER)
    assert check_spec(spec) == []
    spec.boot.CopyFrom(FIRMWARE)
    assert check_spec(spec) == [
        "disk.target: must be a whole disk such as xvda, since firmware starts from no partition; "
        "got 'xvda2'"
    ]


@pytest.mark.parametrize(
    ("targets", "says"),
    [
        (("xvda2", "xvda1"), []),
        (("xvda", "xvdb1", "xvdb2"), []),
        (("xvda", "xvda1"), ["disks[0].target: 'xvda1' is on the same disk as xvda"]),
        (("xvda1", "xvda"), ["disks[0].target: 'xvda' is on the same disk as xvda1"]),
        (("xvda1", "xvda1"), ["disks[0].target: 'xvda1' is another disk's already"]),
        (("", "xvda1"), []),
    ],
)
def test_partitions_are_disks_of_their_own_beside_no_whole_of_theirs(
    targets: tuple[str, ...], says: list[str]
) -> None:
    spec = good()
    spec.disk.target, *further = targets
    for target in further:
        spec.more_disks.add(target=target, path="/srv/x", read_only=True)
    assert check_spec(spec) == says


def test_a_cd_drive_is_read_only_and_one_of_four() -> None:
    spec = good()
    disk = spec.more_disks.add(target="hdc", path="/srv/seed.iso", read_only=True, cdrom=True)
    assert check_spec(spec) == []
    disk.target = "xvdb"
    assert check_spec(spec) == [
        "disks[0].target: must be hda, hdb, hdc or hdd for a cdrom; got 'xvdb'"
    ]
    disk.target, disk.read_only = "hdd", False
    assert check_spec(spec) == ["disks[0].read_only: must be true for a cdrom"]


@pytest.mark.parametrize(
    ("base", "says"),
    [
        ("00:16:3e:00:00:00", ""),
        ("52:54:00:FF:FF:FF", ""),
        ("00-16-3e-00-00-00", "must be a MAC address such as"),
        ("00:16:3e:00:00", "must be a MAC address such as"),
        ("01:16:3e:00:00:00", "01:16:3e:00:00:00 is the address of a group"),
        ("02:16:3e:00:00:00", "addresses that begin with 02 are those that fleets derive"),
        ("1E:16:3e:00:00:00", "addresses that begin with 1E are those that fleets derive"),
        ("fe:16:3e:00:00:00", "addresses that begin with fe are those of the hosts' ends"),
    ],
)
def test_a_base_for_mac_addresses_is_one_interfaces_and_no_derived_one(
    base: str, says: str
) -> None:
    spec = good()
    spec.network.bridge, spec.network.mac_base = "br0", base
    found = check_spec(spec)
    assert not found if not says else found[0].startswith(f"network.mac_base: {says}")
    assert len(found) == bool(says)


def test_two_interfaces_have_two_bases() -> None:
    spec = good()
    spec.network.bridge, spec.network.mac_base = "br0", "00:16:3E:00:00:00"
    spec.more_networks.add(bridge="br1", mac_base="00:16:3e:00:00:00")
    assert check_spec(spec) == [
        "networks[0].mac_base: '00:16:3e:00:00:00' is another interface's already"
    ]


def test_a_network_is_checked_only_when_there_is_one() -> None:
    spec = good()
    spec.network.bridge = "xenbr0"
    assert check_spec(spec) == []
    for bridge, prefix in (("", ""), ("a/b", ""), ("br0", "10.0.0.1/8"), ("br0", "10.0.0.0/31")):
        spec.network.bridge, spec.network.prefix = bridge, prefix
        assert len(check_spec(spec)) == 1, (bridge, prefix)


@pytest.mark.parametrize(("vlan", "mtu"), [(4095, 0), (0, 575), (0, 9217)])
def test_a_vlan_and_an_mtu_are_of_what_networks_have(vlan: int, mtu: int) -> None:
    spec = good()
    spec.network.CopyFrom(types.Network(bridge="br0", vlan=vlan, mtu=mtu))
    assert len(check_spec(spec)) == 1


def test_an_address_on_the_command_line_comes_from_the_first_networks_prefix() -> None:
    spec = good()
    spec.boot.cmdline = "ip={address}"
    spec.network.bridge, spec.network.prefix = "br0", "10.0.0.0/8"
    assert check_spec(spec) == []
    spec.boot.cmdline = "x" * 981 + "{address}"  # 42 characters are left, IPv6 may need 43
    assert check_spec(spec) == ["boot.cmdline: filled in it may be 1024 characters long; 1023 fit"]


DISKS: list[tuple[dict[str, object], str]] = [
    ({"target": ""}, "disks[0].target: must be xvda, vda, sda and the like, or a partition such"),
    ({"target": "xvda"}, "disks[0].target: 'xvda' is another disk's already"),
    ({"path": "tank/data"}, "disks[0].path: must be an absolute path of at most 255"),
    ({"path": "/dev/../sda"}, "disks[0].path: an absolute path without '.', '..' or '//'"),
    ({"path": "/dev/{mac}"}, "disks[0].path: '{mac}' is no placeholder; {name} and {index} are"),
    ({"path": "/dev/{name"}, "disks[0].path: a brace stands alone"),
    ({"path": "/dev/" + "{name}" * 9}, "disks[0].path: filled in it may be 446 characters long"),
    ({"path": "/dev/sdb;reboot"}, "disks[0].path: must be"),
    ({"read_only": False, "path": "/dev/sdb"}, "disks[0].read_only: must be true for a path w"),
]


@pytest.mark.parametrize(("change", "says"), DISKS)
def test_further_disks_are_checked_each(change: dict[str, object], says: str) -> None:
    spec = good()
    disk = spec.more_disks.add(target="xvdb", path="/dev/zvol/tank/{name}-data", read_only=True)
    assert check_spec(spec) == []
    for name, value in change.items():
        setattr(disk, name, value)
    (problem,) = check_spec(spec)
    assert problem.startswith(says)


def test_two_further_disks_have_two_targets() -> None:
    spec = good()
    for _ in range(2):
        spec.more_disks.add(target="xvdb", path="/srv/data-{index}")
    assert check_spec(spec) == ["disks[1].target: 'xvdb' is another disk's already"]


def test_further_interfaces_are_checked_each_and_need_a_first() -> None:
    spec = good()
    spec.more_networks.add(bridge="br1")
    (problem,) = check_spec(spec)
    assert problem.startswith("networks: are the second interface and those after it")
    spec.network.bridge = "br0"
    assert check_spec(spec) == []
    spec.more_networks.add(bridge="", prefix="10.0.0.1/8")
    assert [one.partition(":")[0] for one in check_spec(spec)] == [
        "networks[1].bridge",
        "networks[1].prefix",
    ]


def test_lists_are_bounded() -> None:
    spec = good()
    spec.network.bridge = "br0"
    for number in range(100):
        spec.more_disks.add(target=f"xvd{chr(98 + number % 20)}", path="/dev/sdb", read_only=True)
        spec.more_networks.add(bridge="br1")
    assert check_spec(spec) == [
        "disks: must be at most 8; got 100",
        "networks: must be at most 7; got 100",
    ]
