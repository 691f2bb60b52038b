"""A port that somebody takes between the look at it and the listening is passed over."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from itertools import chain, repeat
from pathlib import Path

import pytest

from fleet.transport import Role
from fleet_agent.controllers.announcer import AnnounceSettings
from fleet_agent.daemon.server import SharedServices
from fleet_agent.drivers.hollow.profile import INSTANT
from fleet_agent.hollow.host import (
    HollowEnvironment,
    HollowHost,
    HollowSettings,
    Remembered,
    host_id,
)
from fleet_agent.hollow.loopback import free_ports
from fleet_agent.reconcile.loop import LoopSettings
from fleetctl.local.certificate_authority import Authority, write_identity


@pytest.mark.parametrize("joined", [False, True])
async def test_a_port_taken_meanwhile_is_passed_over(tmp_path: Path, joined: bool) -> None:
    authority = Authority.create()
    if joined:  # its certificate follows its files
        write_identity(tmp_path / host_id(1), authority.identity(Role.AGENT, host_id(1)))
    else:
        issued = authority.issue(Role.AGENT, host_id(1))
        (tmp_path / f"{host_id(1)}.pem").write_bytes(issued.key + issued.certificate)
    taken, free = (next(free_ports(share)) for share in (0.41, 0.43))
    with socket.create_server(("127.0.0.1", taken)):
        settings = HollowSettings(
            certificates=tmp_path,
            endpoints=("127.0.0.1:1",),
            per_host=1,
            profile=INSTANT,
            seed=1,
            hosts_per_rack=1,
            boot_id="b",
            agent=LoopSettings(),
            announce=AnnounceSettings(),
        )
        around = HollowEnvironment(
            clock=time.monotonic,
            jitter=random.Random(1).random,
            gate=asyncio.Semaphore(1),
            services=SharedServices(),
            ports=chain([taken, free], repeat(0)),
        )
        host = HollowHost(1, settings, around, authority.certificate, Remembered(0, "i"))
        assert host.listen() == Remembered(free, "i")
