"""Each limit by itself: what it makes of the facts of a dom0, and how many guests it admits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet_agent.core.domain.disks import CloneWay
from fleet_agent.core.limits.dom0_facts import (
    Dom0Facts,
    Footprint,
    Xen,
)
from fleet_agent.core.limits.table import BY_NAME
from fleet_agent.core.limits.verdicts import (
    NO_BOUND,
    Standing,
)
from tests.agent.limits.known_dom0s import (
    ABSENT,
    CLONES,
    EMULATED,
    FIXABLE,
    GIB,
    KVM,
    MIB,
    MODERN,
    PASS,
    PLAIN_LINUX,
    REBOOT,
    UNKNOWN,
    of_qemu,
    verdict,
    with_files,
    with_option,
    with_parameter,
    with_sysctl,
)

ROWS: list[tuple[str, Dom0Facts, int, Standing, int]] = [
    # Event channels: 100 beside, 5 a guest with a disk and an interface.
    ("event_channels", replace(MODERN, two_level_events=True), 799, PASS, 799),
    ("event_channels", replace(MODERN, two_level_events=True), 800, REBOOT, 799),
    ("event_channels", replace(MODERN, kernel=(3, 2)), 800, REBOOT, 799),
    ("event_channels", MODERN, 1000, PASS, 26_194),
    ("dynamic_irqs", MODERN, 1000, PASS, NO_BOUND),
    ("dynamic_irqs", replace(MODERN, kernel=(2, 6), nr_irqs=891), 128, REBOOT, 127),
    ("dynamic_irqs", replace(MODERN, kernel=(6, 1), nr_irqs=12_548), 1000, PASS, 2458),
    ("dynamic_irqs", replace(MODERN, kernel=(6, 1)), 1000, UNKNOWN, NO_BOUND),
    ("grant_frames", with_option("gnttab_max_frames=64"), 250, PASS, NO_BOUND),
    ("grant_frames", with_option("", (4, 4)), 250, REBOOT, 0),
    ("maptrack_frames", MODERN, 250, PASS, 668),
    ("maptrack_frames", MODERN, 1000, REBOOT, 668),
    ("maptrack_frames", with_option("gnttab_max_maptrack_frames=16384"), 1000, PASS, 10_699),
    ("maptrack_frames", with_option("gnttab_max_maptrack_frames=many"), 1, UNKNOWN, NO_BOUND),
    ("maptrack_frames", replace(MODERN, xen=Xen((4, 20))), 1000, UNKNOWN, NO_BOUND),
    ("persistent_grants", with_parameter("xen_blkback/max_persistent_grants", 1056), 250,
     FIXABLE, 198),
    ("persistent_grants", MODERN, 250, PASS, 425),
    ("persistent_grants", replace(MODERN, parameters={}), 250, ABSENT, NO_BOUND),
    ("blkback_queues", with_parameter("xen_blkback/max_queues", 8), 250, FIXABLE, 100),
    ("blkback_queues", MODERN, 250, PASS, NO_BOUND),
    ("memory_fit", MODERN, 250, PASS, 6665),
    ("memory_fit", replace(MODERN, footprint=Footprint(GIB)), 250, REBOOT, 110),
    ("memory_fit", replace(MODERN, dom0_memory_bytes=None), 250, UNKNOWN, NO_BOUND),
    ("domain_ids", MODERN, 1000, PASS, 32_751),
    ("domain_ids", MODERN, 40_000, FIXABLE, 32_751),
    ("xenheap", with_option("", (3, 3)), 25, PASS, 25),
    ("xenheap", with_option("", (3, 3)), 26, REBOOT, 25),
    ("xenheap", MODERN, 250, ABSENT, NO_BOUND),
    ("dom0_memory", MODERN, 1000, PASS, 1024),
    ("dom0_memory", replace(MODERN, dom0_memory_bytes=1536 * MIB), 250, REBOOT, 96),
    ("autoballoon", MODERN, 250, PASS, NO_BOUND),
    ("autoballoon", with_option("dom0_mem=16G"), 250, REBOOT, 0),
    ("autoballoon", replace(with_option(""), autoballoon="off"), 250, PASS, NO_BOUND),
    ("dom0_vcpus", replace(MODERN, cpus=64), 250, REBOOT, 0),
    ("dom0_vcpus", MODERN, 250, PASS, NO_BOUND),
    ("conring", with_option(""), 250, REBOOT, 16),
    ("conring", MODERN, 1000, PASS, 1024),
    ("xenconsoled_files", with_files("xenconsoled", 1024), 250, FIXABLE, 240),
    ("xenconsoled_files", with_files("xenconsoled", 132_008), 1000, PASS, 32_986),
    ("xenconsoled_files", replace(MODERN, processes={}), 250, UNKNOWN, NO_BOUND),
    ("xenstored_files", with_files("xenstored", 1024), 250, FIXABLE, 198),
    ("xenstored_files", MODERN, 1000, PASS, 13_101),
    ("libvirtd_files", with_files("libvirtd", 1024), 1000, FIXABLE, 384),
    ("libvirtd_files", with_files("libvirtd", 1024), 250, PASS, 384),
    ("agent_files", with_files("fleet-agent", 256), 250, FIXABLE, 0),
    ("agent_files", MODERN, 250, PASS, 32_640),
    ("xenstored_quota", replace(MODERN, xenstored_nodes=100), 250, REBOOT, 0),
    ("xenstored_quota", MODERN, 250, PASS, NO_BOUND),
    ("xenstored_variant", replace(MODERN, xenstored="xenstored"), 1000, REBOOT, 500),
    ("xenstored_variant", replace(MODERN, xenstored="xenstored"), 250, PASS, 500),
    ("xenstored_variant", replace(MODERN, xenstored=""), 250, UNKNOWN, NO_BOUND),
    ("libvirtd_workers", replace(MODERN, libvirt_workers=20), 250, FIXABLE, 99),
    ("libvirtd_workers", MODERN, 1000, PASS, NO_BOUND),
    ("libvirtd_requests", replace(MODERN, libvirt_requests=5), 250, FIXABLE, 99),
    ("libvirtd_requests", MODERN, 1000, PASS, NO_BOUND),
    ("block_hotplug", replace(MODERN, fast_block_script=False), 250, FIXABLE, 0),
    ("block_hotplug", replace(MODERN, fast_block_script=None), 250, UNKNOWN, NO_BOUND),
    ("block_hotplug", replace(MODERN, qemu_disks=True), 250, ABSENT, NO_BOUND),
    ("block_hotplug", MODERN, 250, PASS, NO_BOUND),
    ("ptys", with_sysctl("kernel.pty.max", 1360), 250, FIXABLE, 80),
    ("ptys", MODERN, 1000, PASS, 6912),
    ("ptys", replace(MODERN, sysctls={}), 1000, UNKNOWN, NO_BOUND),
    ("pids", with_sysctl("kernel.pid_max", 4096), 250, FIXABLE, 0),
    ("pids", with_sysctl("kernel.pid_max", 32_768), 1000, PASS, 1792),
    ("bridge_ports", MODERN, 1023, PASS, 1023),
    ("bridge_ports", MODERN, 1024, FIXABLE, 1023),
    ("bridge_ports", replace(MODERN, footprint=Footprint(vifs=0)), 1024, ABSENT, NO_BOUND),
    ("bridge_ports", replace(MODERN, footprint=Footprint(vifs=2, bridges=2)), 1024, FIXABLE, 1023),
    ("mac_addresses", MODERN, 65_536, PASS, NO_BOUND),
    ("cpu_pressure", replace(MODERN, tells_pressure=False), 250, REBOOT, 0),
    ("cpu_pressure", MODERN, 1000, PASS, NO_BOUND),
    ("aio_requests", replace(PLAIN_LINUX, sysctls={"fs.aio-max-nr": 65_536}), 250, FIXABLE, 64),
    ("aio_requests", PLAIN_LINUX, 1000, PASS, 1024),
    ("inotify_instances", with_sysctl("fs.inotify.max_user_instances", 128), 1, FIXABLE, 0),
    ("inotify_instances", MODERN, 1000, PASS, NO_BOUND),
    ("memory_maps", with_sysctl("vm.max_map_count", 65_530), 250, FIXABLE, 63),
    ("memory_maps", MODERN, 1000, PASS, NO_BOUND),
    ("neighbours_1", with_sysctl("net.ipv4.neigh.default.gc_thresh1", 128), 250, FIXABLE, 128),
    ("neighbours_2", with_sysctl("net.ipv4.neigh.default.gc_thresh2", 512), 250, PASS, 256),
    ("neighbours_3", with_sysctl("net.ipv4.neigh.default.gc_thresh3", 1024), 257, FIXABLE, 256),
    ("zvol_minors", MODERN, 1000, PASS, NO_BOUND),
    ("zvol_minors", replace(MODERN, zvols=False), 1000, ABSENT, NO_BOUND),
    ("zvol_volmode", with_parameter("zfs/zvol_volmode", 1), 250, FIXABLE, 0),
    ("zvol_volmode", MODERN, 250, PASS, NO_BOUND),
    ("zvol_threads", MODERN, 1000, REBOOT, 500),
    ("zvol_threads", MODERN, 500, PASS, 500),
    ("zvol_threads", with_parameter("zfs/zvol_threads", 64), 1000, PASS, NO_BOUND),
    ("zfs_arc", with_parameter("zfs/zfs_arc_max", 0), 250, FIXABLE, 0),
    ("zfs_arc", MODERN, 250, PASS, NO_BOUND),
    ("zvol_blkid", replace(MODERN, skips_blkid=False), 250, FIXABLE, 0),
    ("zvol_blkid", MODERN, 250, PASS, NO_BOUND),
    ("clone_way", MODERN, 250, PASS, NO_BOUND),
    ("clone_way", replace(MODERN, clone_way=CloneWay.REFLINK), 250, PASS, NO_BOUND),
    ("clone_way", replace(MODERN, clone_way=CloneWay.OVERLAY), 250, PASS, NO_BOUND),
    ("clone_way", replace(MODERN, clone_way=CloneWay.COPY), 250, FIXABLE, 0),
    ("clone_way", replace(MODERN, clone_way=None), 250, UNKNOWN, NO_BOUND),
    ("pool_fit", replace(MODERN, pool_free_bytes=190), 250, FIXABLE, 0),
    ("pool_fit", MODERN, 250, PASS, NO_BOUND),
    ("pool_fit", replace(MODERN, pool_bytes=None), 250, UNKNOWN, NO_BOUND),
    # Of QEMU: 96 MiB and 64 a guest, emulated, of 22.5 GiB.
    ("qemu_memory", EMULATED, 144, PASS, 144),
    ("qemu_memory", EMULATED, 145, FIXABLE, 144),
    ("qemu_memory", KVM, 169, PASS, 169),
    # Copies of a template: 36 MiB each, or as measured on the host.
    ("qemu_memory", replace(EMULATED, footprint=CLONES), 640, PASS, 640),
    ("qemu_memory", replace(of_qemu(clone_bytes=64 * MIB), footprint=CLONES), 360, PASS, 360),
    ("qemu_memory", of_qemu(hugepages_bytes=16 * GIB), 100, FIXABLE, 41),
    ("qemu_memory", replace(EMULATED, dom0_memory_bytes=None), 145, UNKNOWN, NO_BOUND),
    ("qemu_memory", MODERN, 145, ABSENT, NO_BOUND),
    ("emulated_cores", EMULATED, 357, PASS, 357),
    ("emulated_cores", EMULATED, 358, FIXABLE, 357),
    ("emulated_cores", KVM, 1000, ABSENT, NO_BOUND),
    ("guest_cpus", KVM, 320, PASS, 320),
    ("guest_cpus", KVM, 321, FIXABLE, 320),
    ("guest_cpus", EMULATED, 321, ABSENT, NO_BOUND),
    ("accelerator", KVM, 250, PASS, NO_BOUND),
    ("accelerator", EMULATED, 250, FIXABLE, 0),
    ("virtlogd_files", EMULATED, 240, PASS, 240),
    ("virtlogd_files", EMULATED, 241, FIXABLE, 240),
    ("virtlogd_files", replace(EMULATED, processes={}), 250, UNKNOWN, NO_BOUND),
    ("virtlogd_clients", EMULATED, 250, PASS, NO_BOUND),
    ("virtlogd_clients", of_qemu(virtlogd_clients=20), 250, FIXABLE, 0),
    ("libvirtd_clients", EMULATED, 250, PASS, NO_BOUND),
    ("libvirtd_clients", of_qemu(libvirt_clients=20), 250, FIXABLE, 0),
    ("vhost_net", EMULATED, 250, PASS, NO_BOUND),
    ("vhost_net", of_qemu(vhost_net=False), 250, FIXABLE, 0),
    ("vhost_net", replace(EMULATED, footprint=Footprint(vifs=0)), 250, ABSENT, NO_BOUND),
    ("tun", EMULATED, 250, PASS, NO_BOUND),
    ("tun", of_qemu(tun=False), 250, FIXABLE, 0),
    ("hugepages", EMULATED, 250, PASS, NO_BOUND),
    ("hugepages", of_qemu(hugepages_bytes=2**21), 250, FIXABLE, 0),
    ("ksm", KVM, 1000, PASS, NO_BOUND),
    ("ksm", EMULATED, 145, FIXABLE, 144),
    ("ksm", of_qemu(ksm=2), 145, FIXABLE, 144),
    ("ksm", of_qemu(ksm=None), 145, UNKNOWN, NO_BOUND),
]  # fmt: skip


@pytest.mark.parametrize(("name", "facts", "guests", "standing", "admitted"), ROWS)
def test_each_limit(
    name: str, facts: Dom0Facts, guests: int, standing: Standing, admitted: int
) -> None:
    judged = verdict(name, facts, guests)
    assert (judged.standing, judged.admits) == (standing, admitted)
    assert (judged.remedy is not None) == judged.fails


def test_every_limit_is_seen_to_pass_and_to_fail() -> None:
    """But for two that no host can fail: their bounds are above every density."""
    passed = {name for name, _, _, standing, _ in ROWS if standing is PASS}
    failed = {name for name, _, _, standing, _ in ROWS if standing in (FIXABLE, REBOOT)}
    assert passed | {"neighbours_1", "neighbours_3"} == set(BY_NAME)
    assert failed | {"mac_addresses", "zvol_minors", "neighbours_2"} == set(BY_NAME)
