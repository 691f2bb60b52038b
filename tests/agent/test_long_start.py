"""An agent that joins when it starts: systemd hears that the start goes on, and why."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import sdnotify

from fleet.certificates.join_token import JoinToken
from fleet_agent.daemon import join_command
from fleet_agent.daemon.join_command import START_SECONDS, join_at_start
from fleet_agent.daemon.running.long_start import still_starting
from fleet_agent.daemon.settings import Settings
from fleet_agent.joining import joining
from fleet_agent.joining.joining import Joined, JoinFailed, JoinRefused, Machine
from fleet_agent.joining.token_sources import Invitation
from tests.virtual_loop import virtual

INVITED = f"quiet megafleet.token={JoinToken('abcd2345', bytes(20), bytes(32)).text} " + (
    "megafleet.name=h1 megafleet.controllers="
    + ",".join(f"192.0.2.{number}:7444" for number in range(1, 9))
)


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield listening


class Unit:
    """The time that systemd has for a start, beyond which it ends it."""

    def __init__(self, listening: socket.socket) -> None:
        self._listening = listening
        self._looked = asyncio.get_running_loop().time()
        self._until = self._looked + START_SECONDS
        self.told: list[str] = []

    def hear(self) -> None:
        """What was said right after it looked last; then that there is time left."""
        self._take_in(self._looked)
        self._looked = asyncio.get_running_loop().time()
        assert self.left >= 0, "systemd has ended it"

    def _take_in(self, said_at: float) -> None:
        while True:
            try:
                extended, status = self._listening.recv(1024).decode().split("\n")
            except BlockingIOError:
                return
            seconds = int(extended.removeprefix("EXTEND_TIMEOUT_USEC=")) / 1e6
            self._until = max(self._until, said_at + seconds)
            self.told.append(status.removeprefix("STATUS="))

    @property
    def left(self) -> float:
        return self._until - self._looked


@virtual
async def starting(systemd: socket.socket, folder: Path, patch: pytest.MonkeyPatch) -> list[str]:
    """What is told while each try takes as long as it may, for some three hours."""
    unit = Unit(systemd)
    errors: list[Exception] = [JoinFailed("nobody answers at 192.0.2.1:7444")] * 20
    errors += [JoinRefused("no such\ntöken")] * 10

    async def join(invitation: Invitation, machine: Machine) -> Joined:
        unit.hear()
        await asyncio.sleep(joining.longest_seconds(invitation))
        unit.hear()
        if errors:
            raise errors.pop()
        return Joined(machine.name, b"", b"", ("192.0.2.1:7443",), {}, "")

    patch.setattr(joining, "join", join)
    patch.setattr(join_command, "kernel_command_line", lambda: INVITED)
    asked = Settings(identity=str(folder / "identity"), ledger=str(folder / "ledger"))
    notifier = sdnotify.SystemdNotifier(debug=True)  # what it cannot say is raised
    with notifier.socket:
        await join_at_start(asked, notifier.notify)
    unit.hear()
    # The rest of the start has as long as that of an agent which need not join.
    assert unit.left >= START_SECONDS
    return unit.told


def test_a_start_that_waits_to_join_is_not_ended_and_says_why_it_waits(
    systemd: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = starting(systemd, tmp_path, monkeypatch)
    assert told[0] == "joining"
    # A line of somebody else's says nothing to systemd by itself.
    assert told[1:11] == ["not joined yet: no such?t?ken"] * 10
    assert told[11:31] == ["not joined yet: nobody answers at 192.0.2.1:7444"] * 20
    assert told[31:] == [""]


def test_a_long_status_is_cut() -> None:
    assert len(still_starting(1.5, "x" * 10_000)) < 400
    assert still_starting(1.5).startswith("EXTEND_TIMEOUT_USEC=1500000\n")


def test_the_rest_of_a_start_has_what_the_unit_gives_a_whole_one() -> None:
    unit = Path(__file__).parents[2] / "deploy" / "systemd" / "fleet-agent.service"
    assert f"\nTimeoutStartSec={START_SECONDS:.0f}\n" in unit.read_text()
