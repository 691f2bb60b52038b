"""A controller under systemd says that it is ready, and then that its loops go on."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.processes.daemons import Controller, pause, resume


def test_a_controller_beats_for_as_long_as_its_loops_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(30.0)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "300000")
        controller = Controller(tmp_path / "controller", "memory:")
        controller.start()
        try:
            assert [systemd.recv(64) for _ in range(3)] == [b"READY=1", *[b"WATCHDOG=1"] * 2]
            pause(controller)
            systemd.setblocking(False)
            with pytest.raises(BlockingIOError):
                while systemd.recv(64) == b"WATCHDOG=1":
                    pass
            systemd.settimeout(30.0)
            resume(controller)
            assert systemd.recv(64) == b"WATCHDOG=1"
        finally:
            controller.kill()
