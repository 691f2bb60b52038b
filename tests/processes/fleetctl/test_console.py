"""fleetctl console as whole processes, on real ptys and through pipes."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from fleet.transport import Refusal
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from tests.processes.controller_double import ControllerDouble
from tests.processes.fleetctl_process import LIMIT_SECONDS, Fleetctl

pytest_plugins = ["tests.processes.fleetctl_fixtures"]

UID = "6a0c9d5e-0f3b-4c55-9f7e-52c2d5a5b1a0"


def echoing(requests: Iterator[Any]) -> Iterator[Any]:
    """A guest that answers each typed line, whose console stays open until it is left."""
    first = next(requests)
    yield wire.ConsoleOutput(writing=not first.read_only, data=b"booted\r\n")
    if first.log_only:
        return
    for one in requests:
        if one.data == b"quit\r":
            return
        if one.data == b"notice\r":
            yield wire.ConsoleOutput(notice="spv-3 has ended", writing=True)
        elif one.data:
            yield wire.ConsoleOutput(data=b"<" + one.data.strip() + b">\r\n", writing=True)


@pytest.fixture
def controller() -> Iterator[ControllerDouble]:
    with ControllerDouble() as double:
        fleet = types.FleetIdentity(uid=UID, name="spv", number=1)
        double.on("GetVm", lambda asked: cluster.VmDetail(fleet=fleet, index=asked.index, host="h"))
        double.console = echoing
        yield double


class Terminal:
    """A pty, and fleetctl at it."""

    def __init__(self, fleetctl: Fleetctl, *arguments: str) -> None:
        self.master, self.slave = os.openpty()
        self.resize(24, 80)
        self.before = termios.tcgetattr(self.slave)
        self.seen = b""
        self.process = subprocess.Popen(
            fleetctl.arguments("console", *arguments),
            env=fleetctl.whole_environment,
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            start_new_session=True,
        )

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def until(self, text: bytes) -> None:
        deadline = time.monotonic() + LIMIT_SECONDS
        while text not in self.seen:
            rest = deadline - time.monotonic()
            assert rest > 0 and select.select([self.master], [], [], rest)[0], (text, self.seen)
            self.seen += os.read(self.master, 4096)

    def type(self, data: bytes) -> None:
        os.write(self.master, data)

    def ended(self) -> int:
        code = self.process.wait(LIMIT_SECONDS)
        assert termios.tcgetattr(self.slave) == self.before, "the terminal was not given back"
        assert b"Traceback" not in self.seen
        return code


def typed(controller: ControllerDouble) -> bytes:
    return b"".join(one.data for one in controller.asked("Console"))


def test_typed_until_the_escape(fleetctl: Fleetctl, controller: ControllerDouble) -> None:
    with Terminal(fleetctl, "spv-3") as terminal:
        terminal.until(b"Ctrl-] leaves")
        terminal.until(b"booted\r\n")
        terminal.type(b"id\r")
        terminal.until(b"<id>\r\n")
        terminal.type(b"\x03\x04")  # to the guest, as everything
        terminal.until(b"<\x03\x04>")
        terminal.type(b"notice\r")
        terminal.until(b"\r\n[spv-3 has ended]\r\n")
        terminal.type(b"\x1d")
        terminal.until(b"console of spv-3 left")
        assert terminal.ended() == 0
    first = controller.asked("Console")[0]
    assert (first.vm.fleet_uid, first.vm.index, first.read_only) == (UID, 3, False)
    assert typed(controller) == b"id\r\x03\x04notice\r"


def test_the_window_is_told_and_told_again(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    with Terminal(fleetctl, "3", "--escape", "^A") as terminal:
        terminal.until(b"Ctrl-A leaves")
        terminal.type(b"x")
        terminal.until(b"<x>")
        terminal.resize(50, 132)
        os.kill(terminal.process.pid, signal.SIGWINCH)
        terminal.type(b"y")
        terminal.until(b"<y>")
        terminal.type(b"\x1dz")
        terminal.until(b"z>")
        terminal.type(b"\x01")
        assert terminal.ended() == 0
    sizes = [(one.rows, one.columns) for one in controller.asked("Console") if one.rows]
    assert sizes == [(24, 80), (50, 132)]


def test_read_only_types_nothing(fleetctl: Fleetctl, controller: ControllerDouble) -> None:
    with Terminal(fleetctl, "spv-3", "--read-only") as terminal:
        terminal.until(b"booted")
        terminal.type(b"rm\r")
        terminal.type(b"\x03")
        terminal.until(b"console of spv-3 left")
        assert terminal.ended() == 0
    (first,) = controller.asked("Console")
    assert first.read_only and not first.data


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_gives_the_terminal_back(
    fleetctl: Fleetctl, number: signal.Signals, code: int
) -> None:
    with Terminal(fleetctl, "spv-3") as terminal:
        terminal.until(b"booted")
        os.kill(terminal.process.pid, number)
        assert terminal.ended() == code


def test_a_connection_that_breaks_is_one_sentence(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    with Terminal(fleetctl, "spv-3") as terminal:
        terminal.until(b"booted")
        controller.stop()
        terminal.until(b"fleetctl: the connection to the console of spv-3 broke: ")
        assert terminal.ended() == 4


def test_a_console_closed_at_the_other_end(fleetctl: Fleetctl) -> None:
    with Terminal(fleetctl, "spv-3") as terminal:
        terminal.until(b"booted")
        terminal.type(b"quit\r")
        terminal.until(b"fleetctl: the console of spv-3 was closed at the other end")
        assert terminal.ended() == 4


def piped(fleetctl: Fleetctl, text: bytes, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        fleetctl.arguments("console", *arguments),
        env=fleetctl.whole_environment,
        input=text,
        capture_output=True,
        timeout=LIMIT_SECONDS,
    )


def test_a_script_sends_stdin_and_gets_the_answer(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    said = piped(fleetctl, b"id\n", "spv-3")
    assert (said.returncode, said.stdout, said.stderr) == (0, b"booted\r\n<id>\r\n", b"")
    assert typed(controller) == b"id\n"


def test_a_script_is_refused_where_another_types(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    controller.console = lambda requests: iter(
        [wire.ConsoleOutput(), wire.ConsoleOutput(notice="another session types to spv-3")]
    )
    said = piped(fleetctl, b"id\n", "spv-3")
    assert said.returncode == 1 and b"--take-over takes it" in said.stderr
    assert typed(controller) == b""


def test_the_log_alone(fleetctl: Fleetctl, controller: ControllerDouble) -> None:
    def lines(requests: Iterator[Any]) -> Iterator[Any]:
        next(requests)
        yield from (wire.ConsoleOutput(data=f"line {n}\r\n".encode()) for n in range(300))

    controller.console = lines
    said = piped(fleetctl, b"", "spv-3", "--log", "2")
    assert (said.returncode, said.stdout) == (0, b"line 298\r\nline 299\r\n")
    said = piped(fleetctl, b"", "spv-3", "--log")
    assert said.stdout.count(b"\n") == 100
    said = piped(fleetctl, b"", "spv-3", "--log", "4K")
    assert said.stdout.count(b"\n") == 300
    asked = controller.asked("Console")
    assert all(one.log_only and one.read_only for one in asked)
    assert [one.log_bytes for one in asked] == [2048, 102400, 4096]


@pytest.mark.parametrize(
    ("code", "reason", "exit_code"),
    [
        (grpc.StatusCode.NOT_FOUND, "NO_SUCH_VM", 1),
        (grpc.StatusCode.UNAVAILABLE, "HOST_UNREACHABLE", 1),
        (grpc.StatusCode.PERMISSION_DENIED, "NOT_ALLOWED", 4),
    ],
)
def test_refusals(
    fleetctl: Fleetctl,
    controller: ControllerDouble,
    code: grpc.StatusCode,
    reason: str,
    exit_code: int,
) -> None:
    controller.console = Refusal(code, reason, "it cannot be opened")
    said = piped(fleetctl, b"", "spv-3", "--read-only")
    assert said.returncode == exit_code
    assert b"it cannot be opened\n" in said.stderr and said.stderr.count(b"\n") == 1


def test_a_vm_on_no_host_has_no_console(fleetctl: Fleetctl, controller: ControllerDouble) -> None:
    fleet = types.FleetIdentity(uid=UID, name="spv", number=1)
    controller.on("GetVm", cluster.VmDetail(fleet=fleet, index=3, unplaced_reason="no host"))
    said = fleetctl("console", "spv-3", "--log")
    assert said.code == 1
    assert said.err == "fleetctl: spv-3 is on no host and has no console: no host\n"


def test_a_controller_that_never_answers_is_given_up(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    left = threading.Event()

    def silent(requests: Iterator[Any]) -> Iterator[Any]:
        left.wait(LIMIT_SECONDS)
        yield from ()

    controller.console = silent
    said = piped(fleetctl, b"", "spv-3", "--read-only", "--request-timeout", "0.5")
    left.set()
    assert said.returncode == 4 and b"no answer from" in said.stderr


def test_what_is_typed_wrong(fleetctl: Fleetctl) -> None:
    for arguments in (
        ("spv",),
        ("spv-3", "--escape", "long"),
        ("spv-3", "--log", "much"),
        ("spv-3", "--log", "5", "--take-over"),
        ("spv-3", "--fleet", "web"),
    ):
        said = fleetctl("console", *arguments)
        assert said.code == 2 and said.err.count("\n") == 1
