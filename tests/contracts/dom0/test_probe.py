"""Facts of whole hosts, read from trees of files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fleet_agent.core.domain.disks import CloneWay
from fleet_agent.core.limits.dom0_facts import MIB, Process, Qemu
from fleet_agent.core.limits.remedies import SYSCTL_FILE, UDEV_FILE, UDEV_RULE
from fleet_agent.core.limits.table import BY_NAME, LIMITS
from fleet_agent.core.limits.verdicts import Standing, admits, binding, judge
from fleet_agent.dom0.host_tree import CannotRead, HostTree, run_command
from fleet_agent.dom0.met import read_met
from fleet_agent.dom0.probe import ProbeInputs, read_facts
from tests.doubles.dom0_trees import AGENT_PID, Tree, dom0_of_2009, kvm_host, modern_dom0

AROUND = ProbeInputs(
    own_pid=AGENT_PID, pool_bytes=100, pool_free_bytes=60, clone_way=CloneWay.VOLUME
)


def test_a_modern_dom0(tmp_path: Path) -> None:
    facts = read_facts(modern_dom0(tmp_path).tree, AROUND)
    assert facts.kernel == (6, 12)
    assert facts.xen is not None and facts.xen.version == (4, 20)
    assert facts.xen.memory_bytes == 65_536 * MIB
    assert facts.xen.options is not None and facts.xen.options["dom0_mem"] == "8G,max:8G"
    assert facts.two_level_events is False and facts.cpus == 8
    assert facts.dom0_memory_bytes == 8 * 1024 * MIB
    assert facts.sysctls["kernel.pty.reserve"] == 1024 and len(facts.sysctls) == 9
    assert facts.parameters["xen_blkback/max_persistent_grants"] == 1056
    assert facts.processes["libvirtd"] == Process("libvirtd", 520, 1024, "libvirtd.service")
    assert facts.processes["xenstored"] == Process("xenstored", 500, 1_048_576, "xen.service")
    assert facts.xenstored == "oxenstored" and facts.xenstored_nodes == 1000
    assert (facts.libvirt_workers, facts.libvirt_requests) == (20, 5)
    assert facts.fast_block_script is False and facts.skips_blkid is False
    assert facts.autoballoon == "" and facts.unread == {}
    verdicts = judge(LIMITS, facts, 250)
    bound = binding(verdicts)
    assert bound is not None and bound.limit.name == "persistent_grants"
    assert admits(verdicts) == 198
    assert not [one for one in verdicts if one.standing is Standing.UNKNOWN]


def test_a_kernel_that_tells_no_pressure_is_named_and_bounds_nothing(tmp_path: Path) -> None:
    made = modern_dom0(tmp_path)
    (tmp_path / "proc/pressure/cpu").unlink()
    facts = read_facts(made.tree, AROUND)
    verdicts = judge(LIMITS, facts, 250)
    verdict = next(one for one in verdicts if one.limit.name == "cpu_pressure")
    assert verdict.standing is Standing.NEEDS_REBOOT and verdict.limit.advisory
    assert verdict.limit.shown(0).startswith("not told: VMs start by their fleets'")
    assert verdict.limit.remedy(250, facts).line.endswith(' psi=1"')
    assert admits(verdicts) == 198


def test_the_dom0_of_2009(tmp_path: Path) -> None:
    made = dom0_of_2009(tmp_path)
    facts = read_facts(made.tree, AROUND)
    assert facts.nr_irqs == 768 and facts.xenstored == "xenstored"
    verdicts = {one.limit.name: one for one in judge(LIMITS, facts, 250)}
    assert verdicts["dynamic_irqs"].admits == 102
    assert verdicts["xenheap"].standing is Standing.PASS
    assert verdicts["xenconsoled_files"].admits == 240
    assert verdicts["libvirtd_files"].standing is Standing.UNKNOWN
    told = made.text("/commands/xl-info").replace("xenheap_megabytes=256", "")
    made.put("/commands/xl-info", told)
    verdicts = {one.limit.name: one for one in judge(LIMITS, read_facts(made.tree, AROUND), 250)}
    assert verdicts["xenheap"].admits == 25


def test_a_host_without_xen(tmp_path: Path) -> None:
    facts = read_facts(kvm_host(tmp_path).tree, AROUND)
    assert facts.xen is None and facts.qemu_disks and facts.processes["libvirtd"].files == 8192
    absent = [one for one in judge(LIMITS, facts, 250) if one.standing is Standing.NOT_APPLICABLE]
    assert len(absent) >= 20


def test_a_host_of_qemu(tmp_path: Path) -> None:
    made = kvm_host(tmp_path)
    assert read_facts(made.tree, AROUND).qemu is None, "nobody has said that guests are QEMU's"
    facts = read_facts(made.tree, replace(AROUND, accelerator="tcg"))
    assert facts.qemu == Qemu(
        emulated=True, hugepages_bytes=(16 + 1024) * MIB, ksm=0, vhost_net=False, tun=True,
        libvirt_clients=5000, virtlogd_clients=64,
    )  # fmt: skip
    assert facts.processes["virtlogd"] == Process("virtlogd", 530, 1024, "virtlogd.service")
    made.put("/dev/vhost-net", "")
    kvm = read_facts(made.tree, replace(AROUND, accelerator="kvm")).qemu
    assert kvm is not None and kvm.vhost_net and not kvm.emulated


def test_the_daemon_of_qemu_alone_is_found_with_its_own_file(tmp_path: Path) -> None:
    made = kvm_host(tmp_path)
    made.process(520, "virtqemud", 8192, 524_288, unit="virtqemud.service")
    made.put("/etc/libvirt/virtqemud.conf", "max_clients = 20\nmax_workers = 9\n")
    facts = read_facts(made.tree, replace(AROUND, accelerator="kvm"))
    assert facts.libvirt == "virtqemud" and facts.libvirt_workers == 9
    assert facts.qemu is not None and facts.qemu.libvirt_clients == 20
    (clients,) = judge((BY_NAME["libvirtd_clients"],), facts, 250)
    assert clients.remedy is not None and clients.remedy.file == "/etc/libvirt/virtqemud.conf"
    assert clients.remedy.then == "systemctl restart virtqemud"


def test_a_domu_is_no_dom0(tmp_path: Path) -> None:
    made = kvm_host(tmp_path)
    made.put("/sys/hypervisor/type", "xen")
    made.put("/sys/hypervisor/properties/features", "00000705")
    assert read_facts(made.tree, AROUND).xen is None
    made.put("/sys/hypervisor/properties/features", "00002f05")
    assert read_facts(made.tree, AROUND).xen is not None


def test_what_cannot_be_read_is_unknown_and_does_not_bind(tmp_path: Path) -> None:
    made = modern_dom0(tmp_path)
    (tmp_path / "commands" / "xl-info").unlink()
    made.put("/proc/sys/kernel/pid_max", "what")
    made.put("/proc/510/limits", "nothing of use")
    verdicts = {one.limit.name: one for one in judge(LIMITS, read_facts(made.tree, AROUND), 250)}
    assert verdicts["maptrack_frames"].standing is Standing.UNKNOWN
    assert verdicts["maptrack_frames"].value == "there is no xl here"
    assert verdicts["pids"].value == "/proc/sys/kernel/pid_max: 'what' is no number"
    assert "/proc/510/limits does not tell" in verdicts["xenconsoled_files"].value


def test_an_empty_host_is_read_to_the_end(tmp_path: Path) -> None:
    verdicts = judge(LIMITS, read_facts(Tree(tmp_path).tree, ProbeInputs()), 250)
    assert not [one for one in verdicts if one.binds and one.fails]


@pytest.mark.parametrize(
    ("target", "fast"),
    [("block-fast", True), ("/usr/lib/megafleet/block-phy", True), ("block.stock", False)],
)
def test_the_block_script_is_told_by_its_link(tmp_path: Path, target: str, fast: bool) -> None:
    made = modern_dom0(tmp_path)
    script = tmp_path / "etc/xen/scripts/block"
    script.unlink()
    script.symlink_to(target)
    assert read_facts(made.tree, AROUND).fast_block_script is fast


def test_irqs_of_an_older_kernel_whose_log_has_moved_on(tmp_path: Path) -> None:
    made = modern_dom0(tmp_path)
    made.put("/proc/sys/kernel/osrelease", "6.1.0-38-amd64")
    assert read_facts(made.tree, AROUND).nr_irqs == 524_544 + 8196
    made.put("/dev/kmsg", "6,9,9,-;something else")
    facts = read_facts(made.tree, AROUND)
    assert facts.nr_irqs is None and "no longer says" in facts.unread["nr_irqs"]
    made.put("/sys/devices/system/cpu/kernel_max", "511")
    assert read_facts(made.tree, AROUND).nr_irqs == 256 + 64 * 512 + 8196


def test_our_own_files_are_read(tmp_path: Path) -> None:
    made = modern_dom0(tmp_path)
    made.put(SYSCTL_FILE, "kernel.pid_max = 1")
    made.put(UDEV_FILE, UDEV_RULE)
    made.put("/etc/systemd/system/xen.service.d/megafleet.conf", "[Service]")
    facts = read_facts(made.tree, AROUND)
    assert facts.skips_blkid and set(facts.own_files) == {
        SYSCTL_FILE, UDEV_FILE, "/etc/systemd/system/xen.service.d/megafleet.conf",
    }  # fmt: skip


def test_limits_that_were_met_are_found_in_all_logs(tmp_path: Path) -> None:
    made = modern_dom0(tmp_path)
    made.put("/commands/xl-dmesg", "(XEN) grant_table.c:1: Failed to obtain maptrack handle")
    full = "Failed to create tty for domain-9 (errno = 24, Too many open files)"
    made.put("/commands/journalctl--b", f"2026-01-01T00:00:00 h xenconsoled[510]: {full}")
    made.put("/dev/kmsg", "3,1,2,-;neighbour: arp_cache: neighbor table overflow!\n DEVICE=x\n")
    made.put("/var/log/libvirt/libxl/libxl-driver.log", "xc: segment kernel too large (1 > 0)")
    assert [(one.limit, one.where) for one in read_met(made.tree)] == [
        ("neighbours_3", "the kernel's log"),
        ("maptrack_frames", "xl dmesg"),
        ("xenconsoled_files", "the journal"),
        ("guest_memory", "/var/log/libvirt/libxl/libxl-driver.log"),
    ]


def test_logs_of_an_earlier_boot_are_left_out(tmp_path: Path) -> None:
    made = modern_dom0(tmp_path)
    made.put("/var/log/xen/xl-a.log", "(XEN) Cannot handle page request order 0!")
    assert len(read_met(made.tree)) == 1
    made.put("/proc/stat", "cpu 1 2\nbtime 99999999999\n")
    assert read_met(made.tree) == ()


def test_a_command_that_is_missing_or_fails_says_so_in_few_words() -> None:
    with pytest.raises(CannotRead, match="there is no such-a-program here"):
        run_command(["such-a-program"])
    with pytest.raises(CannotRead, match=r"ls /nowhere: .*No such file"):
        run_command(["ls", "/nowhere"])


def test_this_very_machine_can_be_read() -> None:
    facts = read_facts(HostTree(), ProbeInputs())
    assert facts.kernel > (2, 6) and facts.processes["fleet-agent"].files > 0
    assert facts.sysctls["kernel.pid_max"] > 0
    assert len(judge(LIMITS, facts, 250)) == len(LIMITS)
