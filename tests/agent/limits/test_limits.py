"""Situation of a dom0 -> verdicts, and how many guests it admits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet_agent.core.assignment import parse_assignment
from fleet_agent.core.domain.disks import CloneWay
from fleet_agent.core.limits.dom0_facts import (
    ASSUMED_MEMORY,
    Dom0Facts,
    Footprint,
    Process,
    Qemu,
    Xen,
    dom0_memory_option,
    footprint_of,
    options_of,
    size_of,
)
from fleet_agent.core.limits.qemu import KSM_FILE
from fleet_agent.core.limits.qemu import LIMITS as QEMU_LIMITS
from fleet_agent.core.limits.remedies import GRUB_FILE, SYSCTL_FILE
from fleet_agent.core.limits.table import BY_NAME, LIMITS
from fleet_agent.core.limits.tuning import OwnFile, tuning
from fleet_agent.core.limits.verdicts import (
    MOST_GUESTS,
    NO_BOUND,
    NotApplicable,
    Standing,
    Unread,
    Verdict,
    admits,
    binding,
    judge,
    summary,
)
from tests.doubles.assignments import assignment, shard

MIB, GIB = 2**20, 2**30
PASS, FIXABLE, REBOOT = Standing.PASS, Standing.FIXABLE, Standing.NEEDS_REBOOT
ABSENT, UNKNOWN = Standing.NOT_APPLICABLE, Standing.UNKNOWN

MODERN = Dom0Facts(
    kernel=(6, 12),
    xen=Xen((4, 20), options_of("dom0_mem=16G,max:16G conring_size=1M"), 128 * GIB),
    zvols=True,
    cpus=8,
    dom0_memory_bytes=16 * GIB,
    two_level_events=False,
    sysctls={
        "fs.aio-max-nr": 1_048_576,
        "fs.inotify.max_user_instances": 1_048_576,
        "kernel.pid_max": 4_194_303,
        "kernel.pty.max": 8192,
        "kernel.pty.reserve": 1024,
        "net.ipv4.neigh.default.gc_thresh1": 1024,
        "net.ipv4.neigh.default.gc_thresh2": 2048,
        "net.ipv4.neigh.default.gc_thresh3": 4096,
        "vm.max_map_count": 262_144,
    },
    parameters={
        "xen_blkback/max_persistent_grants": 352,
        "xen_blkback/max_queues": 1,
        "zfs/zfs_arc_max": 4 * GIB,
        "zfs/zvol_threads": 0,
        "zfs/zvol_volmode": 2,
    },
    processes={
        name: Process(name, pid, 65_536, "xen.service")
        for pid, name in enumerate(("xenconsoled", "xenstored", "libvirtd", "fleet-agent"), 100)
    },
    xenstored="oxenstored",
    xenstored_nodes=1000,
    libvirt_workers=64,
    libvirt_requests=16,
    fast_block_script=True,
    skips_blkid=True,
    pool_bytes=1000,
    pool_free_bytes=500,
    clone_way=CloneWay.VOLUME,
)
OF_QEMU = {one.name for one in QEMU_LIMITS}
PLAIN_LINUX = replace(MODERN, xen=None, qemu_disks=True)
EMULATED = replace(
    PLAIN_LINUX,
    qemu=Qemu(emulated=True, ksm=0),
    cpus=2,
    dom0_memory_bytes=24 * GIB,
    processes={
        **PLAIN_LINUX.processes, "virtlogd": Process("virtlogd", 7, 1024, "virtlogd.service")
    },
)  # fmt: skip
KVM = replace(EMULATED, qemu=Qemu(ksm=1), cpus=32)


CLONES = Footprint(80 * MIB, assumed=False, clones=True)


def of_qemu(base: Dom0Facts = EMULATED, **changes: Any) -> Dom0Facts:
    assert base.qemu is not None
    return replace(base, qemu=replace(base.qemu, **changes))


def verdict(name: str, facts: Dom0Facts, guests: int) -> Verdict:
    return judge((BY_NAME[name],), facts, guests)[0]


def with_option(text: str, version: tuple[int, int] = (4, 20)) -> Dom0Facts:
    return replace(MODERN, xen=Xen(version, options_of(text), 128 * GIB))


def with_sysctl(key: str, value: int) -> Dom0Facts:
    return replace(MODERN, sysctls={**MODERN.sysctls, key: value})


def with_parameter(key: str, value: int) -> Dom0Facts:
    return replace(MODERN, parameters={**MODERN.parameters, key: value})


def with_files(name: str, files: int) -> Dom0Facts:
    process = Process(name, 7, files, "xen.service")
    return replace(MODERN, processes={**MODERN.processes, name: process})


def test_a_tuned_modern_dom0_admits_250() -> None:
    verdicts = judge(LIMITS, MODERN, 250)
    others = {name for name in BY_NAME if name not in OF_QEMU}
    not_passed = {one.limit.name: one.standing for one in verdicts if one.standing is not PASS}
    assert {name: not_passed[name] for name in not_passed.keys() & others} == {
        "xenheap": ABSENT,
        "aio_requests": ABSENT,
    }
    assert all(not_passed[name] is ABSENT for name in OF_QEMU)
    assert binding(verdicts) is None and admits(verdicts) == 425
    assert summary(verdicts, 250, "h") == (
        "250 guests fit; this host admits 425: persistent grants of a disk"
    )


def test_a_host_without_xen_has_none_of_its_limits() -> None:
    absent = {one.limit.name for one in judge(LIMITS, PLAIN_LINUX, 250) if one.standing is ABSENT}
    assert absent >= {"event_channels", "dynamic_irqs", "maptrack_frames", "xenconsoled_files"}
    assert absent.isdisjoint({"pids", "ptys", "libvirtd_files", "aio_requests"})


def test_a_host_of_qemu_has_the_limits_of_qemu_and_none_of_xens() -> None:
    verdicts = judge(LIMITS, EMULATED, 250)
    absent = {one.limit.name for one in verdicts if one.standing is ABSENT}
    assert absent & OF_QEMU == {"guest_cpus"}
    assert absent >= {"event_channels", "memory_fit", "xenconsoled_files", "block_hotplug"}
    assert not [one for one in verdicts if one.standing is UNKNOWN]


def test_two_emulated_cores_with_24_gib_do_not_hold_250_guests() -> None:
    """100 are to be held, and 170 with merging: see qemu_memory."""
    verdicts = judge(LIMITS, EMULATED, 250)
    bound = binding(verdicts)
    assert bound is not None and bound.limit.name == "qemu_memory" and admits(verdicts) == 144
    small = replace(EMULATED, footprint=Footprint(memory_bytes=16 * 2**20, assumed=False))
    bound = binding(judge(LIMITS, small, 500))
    assert bound is not None and bound.limit.name == "virtlogd_files" and bound.admits == 240
    busy = replace(small, footprint=replace(small.footprint, vcpus=4))
    bound = binding(judge(LIMITS, busy, 500))
    assert bound is not None and (bound.limit.name, bound.admits) == ("emulated_cores", 89)


def test_merging_is_wanted_where_memory_is_short_and_switched_on_by_tuning() -> None:
    assert verdict("ksm", EMULATED, 144).standing is PASS
    short = verdict("ksm", EMULATED, 145)
    assert short.standing is FIXABLE and short.remedy is not None
    changes = tuning((short,), {})
    assert [(one.what, one.after) for one in changes] == [
        ("/sys/kernel/mm/ksm/run", "1"),
        (KSM_FILE, "w /sys/kernel/mm/ksm/run - - - - 1"),
    ]
    (kept,) = [one.act for one in changes if isinstance(one.act, OwnFile)]
    (_, again) = tuning((short,), {KSM_FILE: kept.text})
    assert again.act == kept, "and again, once"


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


def test_the_binding_limit_names_what_to_do() -> None:
    old = replace(MODERN, kernel=(2, 6), nr_irqs=891)
    verdicts = judge(LIMITS, old, 250)
    bound = binding(verdicts)
    assert bound is not None and bound.limit.name == "dynamic_irqs" and admits(verdicts) == 127
    assert summary(verdicts, 250, "dom0-1") == (
        "this host admits 127 guests: dynamic IRQs; install Linux 6.5 or newer "
        "(apt-get install linux-image-amd64), reboot for 250"
    )
    verdicts = judge(LIMITS, with_files("xenconsoled", 1024), 250)
    assert summary(verdicts, 250, "dom0-1") == (
        "this host admits 240 guests: open files of xenconsoled; "
        "run 'fleetctl tune dom0-1 --apply' for 250"
    )
    small = replace(with_files("xenconsoled", 1024), footprint=Footprint(GIB))
    assert summary(judge(LIMITS, small, 250), 250, "dom0-1").endswith(
        "; 1 more limit is in the way of 250"
    )


def test_an_advisory_limit_never_binds() -> None:
    slow = replace(
        MODERN, fast_block_script=False, skips_blkid=False, libvirt_workers=1, pool_free_bytes=1
    )
    verdicts = judge(LIMITS, slow, 250)
    assert sum(one.fails for one in verdicts) == 4
    assert binding(verdicts) is None and admits(verdicts) == 425


def test_the_exact_line_and_its_file() -> None:
    remedy = verdict("maptrack_frames", MODERN, 1000).remedy
    assert remedy is not None
    assert remedy.line == (
        'GRUB_CMDLINE_XEN_DEFAULT="$GRUB_CMDLINE_XEN_DEFAULT gnttab_max_maptrack_frames=16384"'
    )
    assert (remedy.file, remedy.then) == (GRUB_FILE, "update-grub, then reboot")
    remedy = verdict("ptys", with_sysctl("kernel.pty.max", 1360), 1000).remedy
    assert remedy is not None and (remedy.line, remedy.file) == (
        "kernel.pty.max = 8192", SYSCTL_FILE
    )  # fmt: skip


numbers = st.integers(0, 2**20)
facts_of_any_host = st.builds(
    Dom0Facts,
    kernel=st.tuples(st.integers(2, 7), st.integers(0, 20)),
    xen=st.none()
    | st.builds(
        Xen,
        st.tuples(st.integers(3, 4), st.integers(0, 20)),
        st.none() | st.just({}) | st.just(options_of("gnttab_max_maptrack_frames=4096")),
        st.none() | st.integers(0, 2**40),
    ),
    qemu_disks=st.booleans(),
    zvols=st.booleans(),
    cpus=st.none() | st.integers(1, 256),
    dom0_memory_bytes=st.none() | st.integers(0, 2**36),
    two_level_events=st.none() | st.booleans(),
    nr_irqs=st.none() | numbers,
    sysctls=st.dictionaries(st.sampled_from(sorted(MODERN.sysctls)), numbers),
    parameters=st.dictionaries(st.sampled_from(sorted(MODERN.parameters)), numbers),
    processes=st.dictionaries(
        st.sampled_from(sorted(MODERN.processes)),
        st.builds(Process, st.just("x"), st.just(1), numbers),
    ),
    xenstored=st.sampled_from(["", "xenstored", "oxenstored"]),
    fast_block_script=st.none() | st.booleans(),
    skips_blkid=st.none() | st.booleans(),
    footprint=st.builds(
        Footprint,
        st.integers(0, 2**32),
        st.integers(1, 8),
        st.integers(0, 4),
        st.integers(0, 4),
        st.integers(1, 4),
    ),
)


@given(facts_of_any_host, st.integers(0, MOST_GUESTS), st.integers(0, MOST_GUESTS))
def test_more_guests_never_turn_a_failure_into_a_pass(
    facts: Dom0Facts, one: int, other: int
) -> None:
    few, many = sorted((one, other))
    for before, after in zip(judge(LIMITS, facts, few), judge(LIMITS, facts, many), strict=True):
        assert not (before.fails and after.standing is PASS)
        assert (before.standing is ABSENT) == (after.standing is ABSENT)


@given(facts_of_any_host, st.sampled_from(LIMITS))
def test_admits_is_the_last_density_that_passes(facts: Dom0Facts, limit: Any) -> None:
    found = limit.found(facts)
    if isinstance(found, NotApplicable | Unread):
        return
    admitted = limit.admits(found, facts)
    if admitted == NO_BOUND:
        assert limit.holds(found, MOST_GUESTS, facts)
        return
    assert not limit.holds(found, admitted + 1, facts)
    assert admitted == 0 or limit.holds(found, admitted, facts)


def test_the_footprint_is_that_of_the_vms_assigned() -> None:
    assert footprint_of(parse_assignment(assignment())).memory_bytes == ASSUMED_MEMORY
    wanted = assignment(shard("0-9", 10))
    spec = wanted.specs[0].spec
    spec.memory_bytes, spec.vcpus, spec.image.name = 64 * MIB, 2, "golden"
    spec.network.bridge = "br0"
    spec.more_networks.add(bridge="br1")
    spec.more_disks.add(target="xvdb", path="/dev/x")
    assert footprint_of(parse_assignment(wanted)) == Footprint(64 * MIB, 2, 2, 2, 2, False)


@pytest.mark.parametrize(
    ("text", "size"), [("4G", 4 * GIB), ("16384", 16 * MIB), ("256k", 262_144), ("x", None)]
)
def test_sizes_of_xens_command_line(text: str, size: int | None) -> None:
    assert size_of(text) == size


def test_dom0_memory_option() -> None:
    assert dom0_memory_option(options_of("a dom0_mem=1G,max:2G")) == (GIB, 2 * GIB)
    assert dom0_memory_option(options_of("dom0_mem=max:2G")) == (None, 2 * GIB)
    assert dom0_memory_option({}) == (None, None)
