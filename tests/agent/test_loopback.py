"""Ports of hollow hosts."""

from __future__ import annotations

import socket
from itertools import islice

import pytest

from fleet_agent.hollow import loopback
from fleet_agent.hollow.loopback import LOWEST, free_ports, is_free


def test_ports_are_distinct_and_below_those_of_outgoing_connections() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as out,
    ):
        ephemeral = out.getsockname()[1]
    found = list(islice(free_ports(0.3), 50))
    assert len(set(found)) == 50
    assert all(LOWEST <= port < ephemeral for port in found)


def test_a_port_that_somebody_listens_on_is_passed_over() -> None:
    first = next(free_ports(0.6))
    with socket.create_server(("127.0.0.1", first)):
        assert not is_free(first)
        assert first not in islice(free_ports(0.6), 50)
    assert is_free(first)


def test_when_all_are_taken_any_will_do() -> None:
    ports = free_ports(0.0)
    count = sum(1 for _ in iter(lambda: next(ports), 0))
    assert count > 1000
    assert next(ports) == 0


def test_processes_of_one_sandbox_begin_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loopback, "is_free", lambda port, address: True)  # whoever else is here
    assert next(free_ports(0.2, 1000)) - next(free_ports(0.2)) == 1000
