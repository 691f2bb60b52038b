"""fleet-hollow as a process: thousands of hosts in real life, a few here."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from fleet.ranges import IndexSet
from fleet.v1 import types_pb2 as types
from fleet_agent.hollow import main as hollow_main
from tests.doubles.assignments import SPV, assignment, shard, tombstone
from tests.processes.agent.agent_caller import Announced, announcements, released_in
from tests.processes.agent.agent_processes import HollowHosts, ended, terminated


def share(number: int, birth: int, count: int = 50) -> types.Assignment:
    first = (number - 1) * 100
    return assignment(shard(f"{first}-{first + count - 1}", birth))


async def assign_all(announced: Announced, hosts: HollowHosts, birth: int, revision: int) -> None:
    for number, host in enumerate(hosts.hosts, hosts.first):
        async with announced.caller(host) as caller:
            await caller.assign(share(number, birth), revision)
            await caller.until_converged(revision)


async def test_hosts_announce_themselves_run_and_are_listed(tmp_path: Path) -> None:
    async with announcements() as announced:
        hosts = HollowHosts(tmp_path, 1, 4, announced.address, ("--racks", "2"))
        async with hosts.running():
            await announced.until(*hosts.hosts)
            labels = [dict(announced.hosts[host].facts.labels) for host in hosts.hosts]
            assert labels == [{"rack": "r01"}] * 2 + [{"rack": "r02"}] * 2
            assert len({announced.hosts[host].address for host in hosts.hosts}) == 4
            await assign_all(announced, hosts, 10, 10)
            everything = (await hosts.listing())[SPV.uid]
            assert everything["running"] == everything["clones"] == everything["distinct"] == 200
            assert everything["duplicates"] == 0
            assert everything["births"] == {"10": 200}
            one = (await hosts.listing("hollow-00002"))[SPV.uid]
            assert (one["running"], one["indices"]) == (50, str(IndexSet.span(100, 150)))
            assert "error" in await hosts.listing("hollow-99999")


async def test_two_hosts_with_one_index_are_listed_as_duplicates(tmp_path: Path) -> None:
    async with announcements() as announced:
        hosts = HollowHosts(tmp_path, 1, 2, announced.address)
        async with hosts.running():
            await announced.until(*hosts.hosts)
            for host in hosts.hosts:
                async with announced.caller(host) as caller:
                    await caller.assign(share(1, 10), 10)
                    await caller.until_converged(10)
            everything = (await hosts.listing())[SPV.uid]
            assert (everything["distinct"], everything["duplicates"]) == (50, 50)


async def test_births_tell_whether_the_same_vms_run(tmp_path: Path) -> None:
    async with announcements() as announced:
        hosts = HollowHosts(tmp_path, 1, 1, announced.address)
        async with hosts.running():
            await announced.until(*hosts.hosts)
            await assign_all(announced, hosts, 10, 10)
            before = (await hosts.listing())[SPV.uid]["births_digest"]
            async with announced.caller(hosts.hosts[0]) as caller:
                await caller.assign(share(1, 10), 11)
                await caller.until_converged(11)
                assert (await hosts.listing())[SPV.uid]["births_digest"] == before
                await caller.assign(share(1, 12), 12)
                await caller.until_converged(12)
                assert (await hosts.listing())[SPV.uid]["births_digest"] != before


async def test_removed_vms_are_released_and_gone(tmp_path: Path) -> None:
    async with announcements() as announced:
        hosts = HollowHosts(tmp_path, 1, 1, announced.address)
        async with hosts.running():
            await announced.until(*hosts.hosts)
            await assign_all(announced, hosts, 10, 10)
            async with announced.caller(hosts.hosts[0]) as caller:
                await caller.assign(assignment(tombstones=[tombstone(4, "0-49", 10)]), 11)
                reports = await caller.until_converged(11)
            assert released_in(reports) == {4}
            assert await hosts.listing() == {}


async def test_killed_and_started_again_it_has_its_addresses_and_its_name(tmp_path: Path) -> None:
    async with announcements() as announced:
        hosts = HollowHosts(tmp_path, 1, 3, announced.address)
        async with hosts.running() as process:
            await announced.until(*hosts.hosts)
            before = dict(announced.hosts)
            process.send_signal(signal.SIGKILL)
            await ended(process)
        announced.hosts.clear()
        async with hosts.running():
            await announced.until(*hosts.hosts)
            for host in hosts.hosts:
                was, now = before[host], announced.hosts[host]
                assert was.address == now.address
                assert was.facts.incarnation == now.facts.incarnation
                assert was.facts.boot_id != now.facts.boot_id
            assert await hosts.listing() == {}
            await assign_all(announced, hosts, 10, 10)
            assert (await hosts.listing())[SPV.uid]["running"] == 150


async def test_a_taken_port_is_replaced_by_another(tmp_path: Path) -> None:
    async with announcements() as announced:
        hosts = HollowHosts(tmp_path, 1, 1, announced.address)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            state = tmp_path / "state"
            state.mkdir()
            known = {hosts.hosts[0]: {"port": port, "incarnation": "i"}}
            (state / "hosts.json").write_text(json.dumps(known))
            async with hosts.running():
                await announced.until(*hosts.hosts)
                told = announced.hosts[hosts.hosts[0]]
                assert told.address != f"127.0.0.1:{port}"
                assert told.facts.incarnation == "i"


async def test_it_ends_at_once_when_told_to(tmp_path: Path) -> None:
    async with announcements() as announced:
        hosts = HollowHosts(tmp_path, 1, 5, announced.address)
        async with hosts.running() as process:
            assert await terminated(process) == (0, "")


async def test_without_a_controller_it_listens_all_the_same(tmp_path: Path) -> None:
    hosts = HollowHosts(tmp_path, 1, 1, "127.0.0.1:9")
    async with hosts.running() as process:
        assert await hosts.listing() == {}
        assert (await terminated(process))[0] == 0


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("--profile", "/nowhere.toml"), "profile '/nowhere.toml' is none of instant, dom0"),
        (("--certificates", "/dev/null"), "/ca.pem: Not a directory"),
        (("--hosts", "9-3"), "'9-3' names no hosts"),
        (("--hosts", "0-3"), "'0-3' names no hosts"),
        (("--per-host", "0"), "--per-host"),
        (("--listing", "/tmp/" + "x" * 120), "AF_UNIX path too long"),
    ],
    ids=["profile", "certificates", "range", "zero", "per host", "socket"],
)
def test_a_mistake_is_one_sentence(
    change: tuple[str, str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    hosts = HollowHosts(tmp_path, 1, 1, "127.0.0.1:9", change)
    monkeypatch.setattr("sys.argv", ["fleet-hollow", *hosts.arguments()])
    # What is the process's own stays as the tests have it.
    for name in ("fleet_agent.daemon.logs.configure", "gc.set_threshold", "resource.setrlimit"):
        monkeypatch.setattr(name, lambda *_: None)
    with pytest.raises(SystemExit) as caught:
        hollow_main.main()
    assert sentence in f"{caught.value.code} {capsys.readouterr().err}"


async def test_too_few_files_is_one_sentence(tmp_path: Path) -> None:
    hosts = HollowHosts(tmp_path, 1, 1, "127.0.0.1:9", ("--hosts", "1-5000"))
    command = ["/bin/sh", "-c", 'ulimit -n 1000 && exec "$@"', "sh"]
    process = await asyncio.create_subprocess_exec(
        *command,
        *(sys.executable, "-m", "fleet_agent.hollow.main"),
        *hosts.arguments(),
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=dict(os.environ),
    )
    status, errors = await ended(process)
    assert status == 1
    assert "5000 hosts need 20256 open files and this system allows 1000" in errors
