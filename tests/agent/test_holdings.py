"""What an agent tells of what its host has, and how much memory is there for its guests."""

from __future__ import annotations

from pathlib import Path

from fleet.v1 import types_pb2 as types
from fleet_agent.core.bridges import HostBridge, WantedBridge, plan_bridges, wanted_bridges
from fleet_agent.core.holdings import (
    MAX_BRIDGES,
    MAX_FILES,
    MAX_IMAGES,
    bridges_held,
    images_held,
    kernels_held,
    with_holdings,
)
from fleet_agent.core.images import ImageName
from fleet_agent.drivers.libvirt.programs_memory import held_by_programs

GIB = 1 << 30


def test_images_are_told_with_their_digests() -> None:
    held = images_held([(ImageName("golden", "2"), "sha256:x"), (ImageName("golden", "1"), "")])
    assert [(one.name, one.snapshot, one.digest) for one in held.images] == [
        ("golden", "1", ""),
        ("golden", "2", "sha256:x"),
    ]
    assert not held.more


def test_of_too_many_images_the_first_are_told_and_that_there_are_more() -> None:
    held = images_held((ImageName(f"i{n}", "1"), "") for n in range(MAX_IMAGES + 1))
    assert held.more and len(held.images) == MAX_IMAGES
    assert f"i{MAX_IMAGES}" not in {one.name for one in held.images}


def test_kernels_are_told_by_folder_and_a_missing_folder_is_one_without_files() -> None:
    held = kernels_held({"/boot": ["vmlinuz", "odd name"], "/srv/none": []})
    assert list(held.folders) == ["/boot", "/srv/none"]
    assert list(held.files) == ["/boot/vmlinuz"]


def test_a_folder_with_too_many_files_is_not_told_at_all() -> None:
    held = kernels_held({"/a": [f"k{n}" for n in range(MAX_FILES + 1)], "/b": ["k"]})
    assert (list(held.folders), list(held.files)) == (["/b"], ["/b/k"])


def test_bridges_of_the_agents_own_are_not_told_as_the_hosts() -> None:
    held = bridges_held([HostBridge("br0", 1), HostBridge("mf-net", 2, ours=True)])
    assert (list(held.names), held.more) == (["br0"], False)
    many = bridges_held(HostBridge(f"br{n}", n) for n in range(MAX_BRIDGES + 1))
    assert many.more and len(many.names) == MAX_BRIDGES


def test_facts_keep_what_is_told_apart_of_them() -> None:
    told = types.HostFacts(bridges=types.BridgesHeld(names=["br0"]))
    facts = with_holdings(types.HostFacts(machine_id="m", images=types.ImagesHeld()), told)
    assert facts == types.HostFacts(machine_id="m", bridges=types.BridgesHeld(names=["br0"]))


def template(*networks: types.Network) -> types.FleetSpec:
    return types.FleetSpec(network=networks[0], more_networks=networks[1:])


def test_bridges_that_have_a_vlan_are_made_before_the_vlans() -> None:
    asks = template(
        types.Network(bridge="lan", create=True, vlan=7, mtu=1400),
        types.Network(bridge="br0", vlan=100),
    )
    assert wanted_bridges([asks, template(types.Network(bridge="br0"))]) == (
        WantedBridge("lan", 1400),
        WantedBridge("br0-v100", 0, "br0", 100),
        WantedBridge("lan-v7", 1400, "lan", 7),
    )


def test_of_two_fleets_the_larger_mtu_counts() -> None:
    small, large = (types.Network(bridge="lan", create=True, mtu=mtu) for mtu in (1400, 9000))
    assert wanted_bridges([template(large), template(small)]) == (WantedBridge("lan", 9000),)


def test_only_bridges_of_the_agents_own_are_mended_and_removed() -> None:
    wanted = (WantedBridge("lan", 1400), WantedBridge("br0-v7", 0, "br0", 7))
    found = [
        HostBridge("lan", 1, mtu=1500),
        HostBridge("br0", 2),
        HostBridge("br0-v7", 3, ours=True),
        HostBridge("old", 4, ours=True),
    ]
    plan = plan_bridges(wanted, found)
    assert plan.make == (wanted[1],), "it leads nowhere any more"
    assert plan.remove == ("old",)


def proc(root: Path, available: int, guest: int) -> Path:
    (root / "meminfo").write_text(
        f"MemTotal: {16 * GIB // 1024} kB\nMemAvailable: {available // 1024} kB\n"
    )
    for pid, name, size in ((7, "qemu-system-x86", guest), (8, "firefox", 3 * GIB)):
        (root / str(pid)).mkdir()
        (root / str(pid) / "comm").write_text(f"{name}\n")
        (root / str(pid) / "status").write_text(f"Name:\t{name}\nVmRSS:\t {size // 1024} kB\n")
    return root


def test_what_programs_hold_is_no_memory_for_guests_and_what_guests_hold_is(tmp_path: Path) -> None:
    # 16 GiB, of which 8 are not available: 5 of these are a guest's.
    assert held_by_programs(proc(tmp_path, 8 * GIB, 5 * GIB)) == 3 * GIB


def test_what_programs_hold_is_told_in_steps_rounded_up(tmp_path: Path) -> None:
    assert held_by_programs(proc(tmp_path, 8 * GIB - 1024, 5 * GIB)) == 4 * GIB


def test_a_host_that_does_not_say_how_much_is_held_has_all_for_guests(tmp_path: Path) -> None:
    assert held_by_programs(tmp_path) == 0
