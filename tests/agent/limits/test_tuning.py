"""Failing limits -> what tuning changes."""

from __future__ import annotations

from dataclasses import replace

from fleet_agent.core.limits.dom0_facts import Dom0Facts, Process
from fleet_agent.core.limits.remedies import (
    MODPROBE_FILE,
    SYSCTL_FILE,
    UDEV_FILE,
    UDEV_RULE,
    RaiseFiles,
    SwitchBlockScript,
    WriteValue,
)
from fleet_agent.core.limits.table import LIMITS
from fleet_agent.core.limits.tuning import (
    HEADER,
    ChangeKind,
    LimitChange,
    OwnFile,
    lines_of,
    tuning,
)
from fleet_agent.core.limits.verdicts import judge
from tests.agent.limits.known_dom0s import MODERN, with_parameter, with_sysctl


def changes(facts: Dom0Facts, guests: int = 250) -> tuple[LimitChange, ...]:
    return tuning(judge(LIMITS, facts, guests), facts.own_files)


def texts(found: tuple[LimitChange, ...]) -> dict[str, str]:
    return {one.act.path: one.act.text for one in found if isinstance(one.act, OwnFile)}


def test_a_host_that_fits_has_nothing_to_change() -> None:
    assert changes(MODERN) == ()


def test_a_sysctl_is_set_now_and_for_the_next_boot() -> None:
    live, kept = changes(with_sysctl("kernel.pid_max", 4096))
    assert (live.limit, live.kind) == ("pids", ChangeKind.LIVE)
    assert live.act == WriteValue("/proc/sys/kernel/pid_max", "4194303")
    assert kept == LimitChange(
        "pids",
        ChangeKind.PERSISTENT,
        SYSCTL_FILE,
        "kernel.pid_max = 4194303",
        OwnFile(SYSCTL_FILE, HEADER + "kernel.pid_max = 4194303\n"),
    )


def test_other_lines_of_our_file_are_kept_and_the_same_key_replaced() -> None:
    before = HEADER + "kernel.pid_max = 1\nvm.max_map_count = 262144\n"
    facts = replace(with_sysctl("kernel.pid_max", 4096), own_files={SYSCTL_FILE: before})
    assert texts(changes(facts))[SYSCTL_FILE] == (
        HEADER + "kernel.pid_max = 4194303\nvm.max_map_count = 262144\n"
    )


def test_two_daemons_of_one_unit_share_a_drop_in_with_the_larger_limit() -> None:
    small = {
        name: Process(name, pid, 64, "xen.service")
        for pid, name in enumerate(("xenconsoled", "xenstored"), 7)
    }
    found = changes(replace(MODERN, processes={**MODERN.processes, **small}))
    assert [one.act for one in found if one.kind is ChangeKind.LIVE] == [
        RaiseFiles("xenconsoled", 132_008),
        RaiseFiles("xenstored", 65_536),
    ]
    assert texts(found) == {
        "/etc/systemd/system/xen.service.d/megafleet.conf": (
            HEADER + "[Service]\nLimitNOFILE=132008\n"
        )
    }


def test_a_parameter_that_cannot_be_changed_live_is_written_and_told() -> None:
    facts = with_parameter("xen_blkback/max_persistent_grants", 128)
    kept, told = changes(facts, 501)
    assert (kept.kind, kept.what) == (ChangeKind.PERSISTENT, MODPROBE_FILE)
    assert (told.kind, told.what) == (ChangeKind.REBOOT, MODPROBE_FILE)
    assert told.after == "options zfs zvol_threads=64; update-initramfs -u, then reboot"


def test_what_needs_people_is_told_and_never_done() -> None:
    found = changes(replace(MODERN, kernel=(2, 6), nr_irqs=300))
    assert [(one.kind, one.act) for one in found] == [(ChangeKind.REBOOT, None)] * len(found)
    assert [one.limit for one in found] == ["dynamic_irqs"]


def test_the_udev_rule_and_the_block_script() -> None:
    facts = replace(MODERN, skips_blkid=False, fast_block_script=False, fast_block_program=True)
    script, rule = changes(facts)
    assert script.act == SwitchBlockScript() and script.kind is ChangeKind.LIVE
    assert isinstance(rule.act, OwnFile)
    assert rule.act.path == UDEV_FILE and rule.act.text == HEADER + UDEV_RULE + "\n"
    (by_hand,) = changes(replace(MODERN, fast_block_script=False))
    assert by_hand.kind is ChangeKind.REBOOT and "install /usr/lib" in by_hand.after


def test_what_was_written_passes_when_it_is_read_again() -> None:
    """The lines of each file are found again, whatever kind of file it is."""
    facts = replace(with_parameter("xen_blkback/max_persistent_grants", 1056), skips_blkid=False)
    for text in texts(changes(facts)).values():
        assert "\n".join(lines_of(text).values()) in text
    assert list(lines_of(texts(changes(facts))[UDEV_FILE])) == [UDEV_RULE]
    assert list(lines_of(texts(changes(facts))[MODPROBE_FILE])) == [
        "options xen_blkback max_persistent_grants"
    ]
