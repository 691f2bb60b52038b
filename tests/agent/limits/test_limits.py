"""Situation of a dom0 -> verdicts, and how many guests it admits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet_agent.core.assignment import parse_assignment
from fleet_agent.core.limits.dom0_facts import (
    ASSUMED_MEMORY,
    Dom0Facts,
    Footprint,
    Process,
    Xen,
    dom0_memory_option,
    footprint_of,
    options_of,
    size_of,
)
from fleet_agent.core.limits.qemu import KSM_FILE
from fleet_agent.core.limits.remedies import GRUB_FILE, SYSCTL_FILE
from fleet_agent.core.limits.table import BY_NAME, LIMITS
from fleet_agent.core.limits.tuning import OwnFile, tuning
from fleet_agent.core.limits.verdicts import (
    MOST_GUESTS,
    NO_BOUND,
    NotApplicable,
    Unread,
    admits,
    binding,
    judge,
    summary,
)
from tests.agent.limits.known_dom0s import (
    ABSENT,
    EMULATED,
    FIXABLE,
    GIB,
    MIB,
    MODERN,
    OF_QEMU,
    PASS,
    PLAIN_LINUX,
    UNKNOWN,
    verdict,
    with_files,
    with_sysctl,
)
from tests.doubles.assignments import assignment, shard


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
