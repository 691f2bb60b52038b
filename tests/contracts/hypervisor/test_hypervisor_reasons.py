"""Why a start failed, told from libvirt's message and the lines of libxl and libxc."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet_agent.drivers.libvirt.reasons import (
    LOG_END_BYTES,
    log_since,
    log_size,
    start_failure,
    xenconsoled_full,
)

UNSAID = "internal error: libxenlight failed to create new domain 'spv-3'"


@pytest.mark.parametrize(
    ("message", "log", "kind", "part"),
    [
        (UNSAID, "", "hypervisor_error", "libxenlight failed"),
        (UNSAID, "libxl: libxl_event.c: nothing of note", "hypervisor_error", "nothing of note"),
        (
            UNSAID,
            "2026-11-23 02:55:20.000+0000: xc: xg_dom_core.c:675:xc_dom_alloc_segment: panic: "
            "segment kernel too large (0x1234 > 0x1000)\n"
            "2026-11-23 02:55:21.000+0000: libxl: Domain 5:cannot (re-)build domain: -3",
            "kernel",
            "segment kernel too large",
        ),
        (
            UNSAID,
            "xc: xg_dom_x86.c:417:count_pgtables: not enough memory for initial mapping",
            "kernel",
            "count_pgtables",
        ),
        (
            UNSAID,
            "libxl: libxl_mem.c:619:libxl_wait_for_memory_target: new target 0\n"
            "libxl: libxl.c:1:freemem: Domain 7:Not enough memory to start domain",
            "no_memory",
            "Not enough memory",
        ),
        (
            UNSAID,
            "libxl: libxl_exec.c:117: /etc/xen/scripts/block add [123] exited with error status 1",
            "disk",
            "exited with error status 1",
        ),
        (
            UNSAID,
            "2026-11-23 03:49:23.801+0000: libxl: libxl_create.c:2037:console_xswait_callback: "
            "domain 2 console tty: timed out",
            "console",
            "domain 2 console tty: timed out",
        ),
        ("internal error: Failed to allocate memory: out of memory", "", "no_memory", "out of"),
        ("Cannot access storage file '/dev/zvol/tank/spv-3'", "", "disk", "/dev/zvol/tank/spv-3"),
        (
            "Cannot access storage file '/srv/x/clones/spv-0' (as uid:64055, gid:64055): "
            "Permission denied",
            "",
            "disk",
            "may not enter one of the folders above it; let it pass ('chmod o+x'",
        ),
        ("Cannot get interface MTU on 'xenbr0': no such bridge", "", "network", "xenbr0"),
    ],
)
def test_kind_and_sentence(message: str, log: str, kind: str, part: str) -> None:
    found, sentence = start_failure(message, log)
    assert found == kind
    assert part in sentence
    assert "\n" not in sentence


def test_the_time_is_left_out_of_the_sentence() -> None:
    _, sentence = start_failure(UNSAID, "2026-11-23 02:55:20.000+0000: xc: out of memory")
    assert sentence == f"{UNSAID}: xc: out of memory"


def test_only_what_the_log_gained_is_read(tmp_path: Path) -> None:
    log = tmp_path / "driver.log"
    assert (log_size(log), log_since(log, 0)) == (0, "")
    log.write_text("before\n")
    size = log_size(log)
    with log.open("a") as more:
        more.write("after\n")
    assert log_since(log, size) == "after\n"
    log.write_text("anew\n")  # rotated: shorter than it was
    assert log_since(log, size) == "anew\n"
    log.write_text("x" * 3 * LOG_END_BYTES)
    assert len(log_since(log, 0)) == LOG_END_BYTES


@pytest.mark.parametrize(
    ("line", "part"),
    [
        (
            "libxl: libxl_create.c:2037:console_xswait_callback: domain 2 console tty: timed out",
            "console tty: timed out: xenconsoled did not take up a console",
        ),
        (
            "libxl: error: xs_write of /local/domain/9/device: E2BIG",
            "a guest reached its quota in xenstore; see 'fleetctl doctor HOST'",
        ),
        (
            "libxl: libxl_exec.c:117: /etc/xen/scripts/vif-bridge: bash: fork: retry: Resource "
            "temporarily unavailable",
            "the dom0 could start no more processes; run 'fleetctl tune HOST --apply'",
        ),
        ("xc: panic: segment kernel too large (0x2000 > 0x1000)", "give it more (memory in"),
    ],
)
def test_a_limit_that_was_met_is_named_with_what_lifts_it(line: str, part: str) -> None:
    _, sentence = start_failure(UNSAID, f"libxl: something before\n{line}\n")
    assert sentence.startswith(UNSAID) and part in sentence and "\n" not in sentence


@pytest.mark.parametrize(
    ("held", "told"), [(62, "xenconsoled has 62 of its 64 files open"), (9, "")]
)
def test_a_xenconsoled_without_room_is_told(tmp_path: Path, held: int, told: str) -> None:
    assert xenconsoled_full(tmp_path) == ""
    for pid, name in ((7, "init"), (510, "xenconsoled")):
        files = tmp_path / str(pid) / "fd"
        files.mkdir(parents=True)
        (tmp_path / str(pid) / "comm").write_text(f"{name}\n")
    limits = "Limit  Soft Limit  Hard Limit  Units\nMax open files  64  4096  files\n"
    (tmp_path / "510" / "limits").write_text(limits)
    for number in range(held):
        (tmp_path / "510" / "fd" / str(number)).touch()
    assert xenconsoled_full(tmp_path) == told
