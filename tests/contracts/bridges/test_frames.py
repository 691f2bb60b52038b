"""Frames really pass over a bridge of the agent's: two network namespaces stand in for guests,
each with one end of a veth pair, the other of which is a port as a guest's tap or vif is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from fleet_agent.core.bridges import WantedBridge
from fleet_agent.drivers.ports.bridges import Interface
from tests.contracts.bridges.bridge_hosts import (
    NamespaceHost,
    namespace_host,
    namespaces_can_be_made,
)

_ECHO = """
import socket, sys
with socket.socket(type=socket.SOCK_DGRAM) as echo:
    echo.bind((sys.argv[1], 7007))
    print("listens", flush=True)
    while True:
        data, sender = echo.recvfrom(65536)
        echo.sendto(data, sender)
"""
_ASK = """
import socket, sys
with socket.socket(type=socket.SOCK_DGRAM) as asking:
    asking.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER, IP_PMTUDISC_DO
    asking.settimeout(2)
    asking.sendto(bytes(int(sys.argv[2])), (sys.argv[1], 7007))
    assert len(asking.recv(65536)) == int(sys.argv[2])
"""
BRIDGE = WantedBridge("mf-net", mtu=1400)


class Guest:
    """A namespace with one interface. `port`: the host's end of it."""

    def __init__(self, host: NamespaceHost, number: int) -> None:
        self.name = f"{host.namespace}-{number}"
        self.port = f"vnet{number}"
        self.address = f"10.9.0.{number}"
        _run("ip", "netns", "add", self.name)
        host.ip(
            "link", "add", self.port, "type", "veth", "peer", "name", "eth0", "netns", self.name
        )
        host.ip("link", "set", self.port, "master", BRIDGE.name, "up")
        _run("ip", "-n", self.name, "address", "add", f"{self.address}/24", "dev", "eth0")
        _run("ip", "-n", self.name, "link", "set", "eth0", "mtu", str(BRIDGE.mtu), "up")

    def reaches(self, other: Guest, size: int = 56) -> bool:
        """Whether a datagram of so many bytes, not to be cut, comes back from the other one."""
        echo = subprocess.Popen(other._in(_ECHO, other.address), stdout=subprocess.PIPE)
        try:
            assert echo.stdout is not None and echo.stdout.readline(), "the echo does not listen"
            asked = subprocess.run(
                self._in(_ASK, other.address, str(size)), capture_output=True, check=False
            )
            return asked.returncode == 0
        finally:
            echo.kill()
            echo.communicate()

    def _in(self, program: str, *arguments: str) -> list[str]:
        return ["ip", "netns", "exec", self.name, sys.executable, "-c", program, *arguments]

    def remove(self) -> None:
        subprocess.run(["ip", "netns", "delete", self.name], check=False, capture_output=True)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def host() -> Iterator[NamespaceHost]:
    if not namespaces_can_be_made():
        pytest.skip("network namespaces need root and iproute2")
    with namespace_host() as made:
        yield made


@pytest.fixture
def guests() -> Iterator[list[Guest]]:
    made: list[Guest] = []
    yield made
    for guest in made:
        guest.remove()


async def test_guests_reach_one_another_over_the_agents_bridge_and_after_it_was_taken_away(
    host: NamespaceHost, guests: list[Guest]
) -> None:
    await host.bridges.make(BRIDGE)
    guests += [Guest(host, number) for number in (1, 2)]
    first, second = guests
    assert first.reaches(second)
    assert first.reaches(second, 1400 - 28), "a packet of the whole MTU passes"
    assert not first.reaches(second, 1401 - 28), "and no larger one"
    host.take_away(BRIDGE.name)
    assert not first.reaches(second)
    await host.bridges.make(BRIDGE)
    for guest in guests:
        await host.bridges.join(Interface(guest.port, BRIDGE.name))
    assert first.reaches(second)
    assert not await host.bridges.remove(BRIDGE.name), "guests are in it"
    for guest in guests:
        host.take_away(guest.port)
    assert await host.bridges.remove(BRIDGE.name)
