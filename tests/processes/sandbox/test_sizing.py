"""How large a sandbox a machine admits, and what it is told when that is less than asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetctl.sandbox.planning.machine import Machine
from fleetctl.sandbox.planning.sizing import (
    DEFAULT_HOSTS,
    DESCRIPTORS_A_HOST,
    DESCRIPTORS_A_PROCESS,
    MIB,
    MOST_HOSTS_A_PROCESS,
    demo_total,
    fit,
)
from fleetctl.sandbox.processes.process import daemon_environment
from fleetctl.sandbox.processes.readiness import last_words

AMPLE = Machine(
    cores=2, memory_bytes=16 << 30, descriptors=1 << 20, ports=28_232, etcd=Path("/usr/bin/etcd")
)


def test_an_ample_machine_gets_what_was_asked_in_few_processes() -> None:
    size = fit(DEFAULT_HOSTS, AMPLE)
    assert (size.hosts, len(size.processes), size.reasons) == (DEFAULT_HOSTS, 3, ())
    assert fit(1, AMPLE).processes == ((1, 1),)


def test_a_sandbox_without_hosts_is_one_for_hosts_of_its_own() -> None:
    size = fit(0, replace(AMPLE, memory_bytes=0))
    assert (size.hosts, size.processes, size.reasons) == (0, (), ())


@pytest.mark.parametrize(
    ("machine", "reason"),
    [
        (replace(AMPLE, memory_bytes=1024 * MIB), "1,024 MiB of memory are available"),
        (replace(AMPLE, descriptors=1024), "a process may open 1,024 files here"),
        (replace(AMPLE, ports=3000), "3,000 ports are free"),
    ],
)
def test_a_small_machine_gets_fewer_and_is_told_why(machine: Machine, reason: str) -> None:
    size = fit(DEFAULT_HOSTS, machine)
    assert 1 <= size.hosts < DEFAULT_HOSTS
    assert len(size.reasons) == 1
    assert f"{size.hosts:,} hosts instead of 4,480" in size.reasons[0]
    assert reason in size.reasons[0]


@given(
    st.integers(1, 10_000), st.integers(1, 64), st.integers(0, 1 << 36), st.integers(64, 1 << 20)
)
def test_every_host_is_in_one_process_that_may_open_what_it_needs(
    asked: int, cores: int, memory: int, descriptors: int
) -> None:
    machine = replace(AMPLE, cores=cores, memory_bytes=memory, descriptors=descriptors)
    size = fit(asked, machine)
    assert 1 <= size.hosts <= asked
    numbers = [number for first, last in size.processes for number in range(first, last + 1)]
    assert numbers == list(range(1, size.hosts + 1))
    lengths = [last - first + 1 for first, last in size.processes]
    assert max(lengths) - min(lengths) <= 1
    assert max(lengths) <= MOST_HOSTS_A_PROCESS
    if max(lengths) > 1:
        assert max(lengths) * DESCRIPTORS_A_HOST + DESCRIPTORS_A_PROCESS <= descriptors


def test_the_demo_leaves_the_same_share_free_at_any_size() -> None:
    assert demo_total(4480, 250) == 1_000_000
    assert demo_total(448, 250) == 100_000
    assert demo_total(16, 250) == 3_500
    assert demo_total(1, 1) == 1


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("", ""),
        ("one\ntwo\n\n", "two"),
        (
            '{"level":"fatal","msg":"discovery failed","error":"no space"}\n\tmain.go:46\n',
            "discovery failed: no space",
        ),
        ("fleet-controller: cannot listen on :1\n", "fleet-controller: cannot listen on :1"),
        (
            "  | Traceback\n  | OSError: AF_UNIX path too long\n  +-----\n",
            "OSError: AF_UNIX path too long",
        ),
    ],
)
def test_of_a_log_the_line_is_shown_that_says_why(log: str, words: str) -> None:
    assert last_words(log) == words


def test_daemons_get_no_settings_from_outside_and_no_proxy_to_loopback() -> None:
    given_ = {"ETCD_NAME": "other", "MEGAFLEET_CONTEXT": "x", "HOME": "/h", "no_proxy": "a.example"}
    assert daemon_environment(given_) == {
        "HOME": "/h",
        "no_proxy": "a.example,127.0.0.1,localhost",
        "NO_PROXY": "127.0.0.1,localhost",
    }
