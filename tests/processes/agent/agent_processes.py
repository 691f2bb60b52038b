"""Real fleet-hollow and fleet-agent processes, ended with whatever signal a test likes."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleet.transport import Role
from tests.certificates import identity, issue
from tests.processes.agent.agent_caller import DEADLINE

CA = "ca.pem"


@asynccontextmanager
async def started(
    module: str, *arguments: str, around: tuple[str, ...] = ()
) -> AsyncIterator[Process]:
    """`python -m module`; killed at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        *around, sys.executable, "-m", module, *arguments, stdout=PIPE, stderr=PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def ended(process: Process) -> tuple[int, str]:
    """Exit status and stderr."""
    async with asyncio.timeout(DEADLINE):
        _, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, errors.decode()


@dataclass(frozen=True)
class HollowHosts:
    """A range of hollow hosts with its folders, whose process may come and go."""

    folder: Path
    first: int
    last: int
    endpoint: str
    more: tuple[str, ...] = ()

    @property
    def hosts(self) -> list[str]:
        return [f"hollow-{number:05d}" for number in range(self.first, self.last + 1)]

    @property
    def socket(self) -> Path:
        return self.folder / "listing.sock"

    def write_certificates(self) -> Path:
        certificates = self.folder / "certificates"
        certificates.mkdir(exist_ok=True)
        for host in self.hosts:
            own = identity(Role.AGENT, host)
            (certificates / CA).write_bytes(own.ca)
            (certificates / f"{host}.pem").write_bytes(own.key + own.certificate)
        return certificates

    def arguments(self) -> list[str]:
        return [
            *("--hosts", f"{self.first}-{self.last}"),
            *("--certificates", str(self.write_certificates())),
            *("--endpoints", self.endpoint),
            *("--state", str(self.folder / "state")),
            *("--listing", str(self.socket)),
            *self.more,
        ]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Process]:
        """From when all its servers listen."""
        async with started("fleet_agent.hollow.main", *self.arguments()) as process:
            assert process.stdout is not None
            async with asyncio.timeout(DEADLINE):
                line = await process.stdout.readline()
            if not line:
                raise AssertionError((await ended(process))[1])
            assert json.loads(line) == {"event": "listening", "hosts": len(self.hosts)}
            yield process

    async def listing(self, what: str = "all") -> dict[str, Any]:
        async with asyncio.timeout(DEADLINE):
            reader, writer = await asyncio.open_unix_connection(str(self.socket))
            writer.write(f"{what}\n".encode())
            answer = json.loads(await reader.read())
            writer.close()
            await writer.wait_closed()
        assert isinstance(answer, dict)
        return answer


@dataclass(frozen=True)
class RealAgent:
    """A fleet-agent over libvirt's test driver and plain files, in one folder."""

    folder: Path
    host: str
    endpoint: str
    listen: str = "127.0.0.1:0"
    metrics: str = ""  # where it serves them
    around: tuple[str, ...] = ()  # a program that runs it, as `unshare` does

    def arguments(self) -> list[str]:
        identity_folder = self.folder / "identity"
        if not identity_folder.exists():
            issue(identity_folder, Role.AGENT, self.host)
        return [
            *("--identity", str(identity_folder)),
            *("--endpoints", self.endpoint),
            *("--listen", self.listen),
            *("--metrics-listen", self.metrics),
            *("--ledger", str(self.folder / "ledger")),
            *("--hypervisor", f"test://{self.node()}"),
            *("--storage", f"reflink:{self.folder / 'storage'}"),
        ]

    def node(self) -> Path:
        node = self.folder / "node.xml"
        node.write_text(NODE)
        return node

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Process]:
        module, arguments = "fleet_agent.daemon.main", self.arguments()
        async with started(module, *arguments, around=self.around) as process:
            yield process


# An empty host of libvirt's test driver.
NODE = """<node><cpu><mhz>2000</mhz><model>x</model><active>4</active><nodes>1</nodes>
<sockets>1</sockets><cores>4</cores><threads>1</threads></cpu><memory>8388608</memory></node>"""


async def terminated(process: Process) -> tuple[int, str]:
    process.send_signal(signal.SIGTERM)
    return await ended(process)
