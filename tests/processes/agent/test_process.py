"""fleet-agent as a process, over libvirt's test driver and clones in plain files."""

from __future__ import annotations

import asyncio
import os
import signal
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from fleet.certificates.certificate import read_certificate
from fleet_agent.core.model import VmState
from fleetctl.local.certificate_authority import write_identity
from tests.certificates import odd_identity
from tests.doubles.assignments import assignment, shard, tombstone
from tests.processes.agent.agent_caller import DEADLINE, announcements, released_in, states_told
from tests.processes.agent.agent_processes import RealAgent, ended, terminated
from tests.processes.etcd_process import free_ports
from tests.processes.scraping import scraped

TEN = assignment(shard("0-9", 10))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images = tmp_path / "storage" / "images"
    images.mkdir(parents=True)
    (images / "golden@1").write_bytes(b"golden" * 1000)
    return tmp_path


def clones(folder: Path) -> set[str]:
    return {name for name in os.listdir(folder / "storage" / "clones") if name[0] != "."}


async def test_it_announces_itself_runs_vms_and_removes_them(folder: Path) -> None:
    async with announcements() as announced:
        agent = RealAgent(folder, "dom0-1", announced.address)
        async with agent.running() as process:
            await announced.until("dom0-1")
            async with announced.caller("dom0-1") as caller:
                await caller.assign(TEN, 10)
                reports = await caller.until_converged(10)
                assert states_told(reports) == dict.fromkeys(range(10), VmState.RUNNING)
                assert clones(folder) == {f"spv-{index}" for index in range(10)}
                less = assignment(shard("0-2", 10), tombstones=[tombstone(1, "3-9", 10)])
                await caller.assign(less, 11)
                assert released_in(await caller.until_converged(11)) == {1}
                assert clones(folder) == {"spv-0", "spv-1", "spv-2"}
            status, _ = await terminated(process)
            assert status == 0


async def test_it_is_scraped_with_what_it_did_and_the_room_it_has(folder: Path) -> None:
    where = f"127.0.0.1:{free_ports(1)[0]}"
    async with announcements() as announced:
        agent = RealAgent(folder, "dom0-1", announced.address, metrics=where)
        async with agent.running():
            await announced.until("dom0-1")
            async with announced.caller("dom0-1") as caller:
                await caller.assign(TEN, 10)
                await caller.until_converged(10)
                told = await asyncio.to_thread(scraped, where)
    assert told["agent_vms", "running"] == told["agent_boot_seconds_count",] == 10
    for step in ("clone", "define", "start", "await_ready"):
        assert told["agent_done_total", step] == 10
        assert told["agent_call_seconds_count", step] >= 1
    assert 0 < told["agent_pool_free_bytes",] <= told["agent_pool_bytes",]
    assert 0 < told["agent_memory_available_bytes",] < told["agent_memory_bytes",]
    assert told["agent_certificate_end_timestamp_seconds",] > 0


async def test_killed_it_comes_back_as_the_same_host_with_its_assignment(folder: Path) -> None:
    async with announcements() as announced:
        agent = RealAgent(folder, "dom0-1", announced.address)
        async with agent.running() as process:
            await announced.until("dom0-1")
            incarnation = announced.hosts["dom0-1"].facts.incarnation
            async with announced.caller("dom0-1") as caller:
                await caller.assign(TEN, 10, term=3)
            process.send_signal(signal.SIGKILL)
            await ended(process)
        announced.hosts.clear()
        async with agent.running():
            await announced.until("dom0-1")
            assert announced.hosts["dom0-1"].facts.incarnation == incarnation
            async with announced.caller("dom0-1") as caller:
                told = await caller.describe(term=3)
                assert (told.epoch.revision, told.term.revision) == (10, 3)
                # The domains of libvirt's test driver ended with the process; the clones did
                # not, and the ledger says what is wanted.
                await caller.until_converged(10, term=3)
                assert clones(folder) == {f"spv-{index}" for index in range(10)}


async def test_it_starts_when_the_first_of_two_endpoints_does_not_resolve(folder: Path) -> None:
    async with announcements() as announced:
        endpoints = f"controller-1.invalid:7440,{announced.address}"
        agent = RealAgent(folder, "dom0-1", endpoints, listen="0.0.0.0:0")
        async with agent.running():
            await announced.until("dom0-1")
            assert announced.hosts["dom0-1"].address.startswith("127.0.0.1:")


@pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace takes root")
async def test_without_a_network_it_starts_and_keeps_what_it_has_true(folder: Path) -> None:
    async with announcements() as announced:
        agent = RealAgent(folder, "dom0-1", announced.address)
        async with agent.running() as process:
            await announced.until("dom0-1")
            async with announced.caller("dom0-1") as caller:
                await caller.assign(TEN, 10)
                await caller.until_converged(10)
            await terminated(process)
    (folder / "storage" / "clones" / "spv-3").unlink()
    offline = RealAgent(
        folder, "dom0-1", "192.0.2.21:7440", listen="0.0.0.0:0", around=("unshare", "--net")
    )
    async with offline.running() as process:
        assert process.stderr is not None
        async with asyncio.timeout(DEADLINE):
            while b"announce failed" not in await process.stderr.readline():
                assert process.returncode is None
            while clones(folder) != {f"spv-{index}" for index in range(10)}:
                assert await process.stderr.readline()
        status, _ = await terminated(process)
        assert status == 0


async def test_a_broken_ledger_is_one_sentence_and_put_aside(folder: Path) -> None:
    async with announcements() as announced:
        agent = RealAgent(folder, "dom0-1", announced.address)
        (folder / "ledger").write_bytes(b"rubbish")
        async with agent.running() as process:
            status, errors = await ended(process)
            assert status == 1
            assert "is broken (it does not begin as a ledger" in errors
            assert "Traceback" not in errors
        async with agent.running():
            await announced.until("dom0-1")


async def test_a_missing_identity_is_one_sentence(folder: Path) -> None:
    agent = RealAgent(folder, "dom0-1", "127.0.0.1:9")
    agent.arguments()
    (folder / "identity" / "key.pem").unlink()
    async with agent.running() as process:
        status, errors = await ended(process)
    assert status == 1
    assert errors.strip().endswith("key.pem: No such file or directory")


async def test_a_key_that_others_may_read_is_one_sentence(folder: Path) -> None:
    agent = RealAgent(folder, "dom0-1", "127.0.0.1:9")
    agent.arguments()
    (folder / "identity" / "key.pem").chmod(0o640)
    async with agent.running() as process:
        status, errors = await ended(process)
    assert status == 1
    assert errors.strip().endswith(f"chmod 600 {folder / 'identity' / 'key.pem'}")


async def test_a_hang_up_does_not_end_an_agent(folder: Path) -> None:
    async with announcements() as announced:
        agent = RealAgent(folder, "dom0-1", announced.address)
        async with agent.running() as process:
            await announced.until("dom0-1")
            process.send_signal(signal.SIGHUP)
            async with announced.caller("dom0-1") as caller:
                await caller.describe(term=1)
            assert process.returncode is None


@pytest.mark.parametrize(
    ("since", "until", "wrong"),
    [(-3, -1, "cert.pem expired on 20"), (1, 3, "cert.pem is not valid before 20")],
    ids=["expired", "not yet valid"],
)
async def test_an_agent_whose_certificate_is_not_valid_says_so_with_file_date_and_clock(
    folder: Path, since: int, until: int, wrong: str
) -> None:
    names = [x509.DNSName("dom0-1.agent.megafleet")]
    bad = odd_identity(names, since=timedelta(days=since), until=timedelta(days=until))
    write_identity(folder / "identity", bad)
    async with announcements() as announced:
        agent = RealAgent(folder, "dom0-1", announced.address)
        async with agent.running() as process:
            assert process.stderr is not None
            said = ""
            async with asyncio.timeout(DEADLINE):
                while "announce failed" not in said:
                    said += (await process.stderr.readline()).decode()
            process.terminate()
        at_start, *_, failing = said.splitlines()
        for line in (at_start, failing):
            assert wrong in line and "and the clock here says 20" in line, said
            assert '"level": "warning"' in line
        assert not announced.hosts


async def test_an_agent_says_when_its_certificate_ends(folder: Path) -> None:
    async with announcements() as announced:
        async with RealAgent(folder, "dom0-1", announced.address).running():
            await announced.until("dom0-1")
            facts = announced.hosts["dom0-1"].facts
        ends = read_certificate((folder / "identity" / "cert.pem").read_bytes()).not_after
        assert facts.certificate_expires_unix == ends.timestamp()


async def test_a_second_agent_with_its_ledger_or_its_clones_is_refused(folder: Path) -> None:
    async with announcements() as announced:
        agent = RealAgent(folder, "dom0-1", announced.address)
        async with agent.running() as process:
            await announced.until("dom0-1")
            async with agent.running() as second:
                status, said = await ended(second)
            assert status == 1 and "another agent works with" in said
            assert "Traceback" not in said and process.returncode is None
