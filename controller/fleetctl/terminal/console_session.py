"""At a console: people at a terminal, scripts through pipes, or the end of its log alone."""

from __future__ import annotations

import os
import select
import sys
import time
from dataclasses import dataclass, field

from fleet.v1 import agent_pb2 as wire
from fleetctl.outcome import Failed, OutputLost, Unreachable, printable
from fleetctl.output import ReaderGone, note, say
from fleetctl.terminal.raw_terminal import raw_terminal, window
from fleetctl.views.vms.console import LogPart, Quiet, as_text, before_escape, key_name, last_lines
from megafleet.connection.console_call import ConsoleCall

READ_BYTES = 4096
CTRL_C = b"\x03"


def show_log(call: ConsoleCall, part: LogPart) -> None:
    """The end of the log, until the call has ended. Raises Trouble."""
    data = b""
    while (output := call.next_output()) is not None:
        data += output.data
    data = last_lines(data, part)
    if not sys.stdout.isatty():
        _write(data)
    elif data:
        say(as_text(data))


@dataclass(slots=True)
class AtTerminal:
    """People: what they type goes to the guest as it is, until the escape."""

    call: ConsoleCall
    name: str
    escape: bytes
    read_only: bool
    _stdin: int = field(default_factory=lambda: sys.stdin.fileno())

    def run(self) -> None:
        """Until the escape is typed. Raises Trouble."""
        first = _opened(self.call.next_output(), self.name)
        with raw_terminal(self._stdin) as signalled:
            _aside(self._greeting())
            self._tell_window()
            self._show(first)
            self._converse(signalled)

    def _converse(self, signalled: int) -> None:
        while True:
            ready, _, _ = select.select([self._stdin, self.call.wake, signalled], [], [])
            if signalled in ready:
                os.read(signalled, READ_BYTES)
                self._tell_window()
            if self.call.wake in ready:
                self._show(_opened(self.call.next_output(), self.name))
            if self._stdin in ready and self._type():
                return

    def _greeting(self) -> str:
        keys = ["Ctrl-C"] if self.read_only else []
        keys += [key_name(self.escape)] if self.escape else []
        leaves = f"; {' or '.join(keys)} leaves" if keys else ""
        return f"console of {self.name}{leaves}"

    def _show(self, output: wire.ConsoleOutput) -> None:
        if output.data:
            _write(output.data)
        if output.notice:
            _aside(f"\r\n[{printable(output.notice)}]")

    def _type(self) -> bool:
        """Whether it was the last."""
        typed = os.read(self._stdin, READ_BYTES)
        if not typed:
            return True
        data, leaves = before_escape(typed, self.escape)
        if self.read_only:
            return leaves or CTRL_C in data
        if data:
            self.call.send(wire.ConsoleInput(data=data))
        return leaves

    def _tell_window(self) -> None:
        rows, columns = window(self._stdin)
        if rows and columns and not self.read_only:
            self.call.send(wire.ConsoleInput(rows=rows, columns=columns))


@dataclass(slots=True)
class Piped:
    """Scripts: all of stdin goes to the guest, and what it prints comes out until it is quiet."""

    call: ConsoleCall
    name: str
    read_only: bool
    _quiet: Quiet = field(default_factory=Quiet)

    def run(self) -> None:
        """Until the guest is quiet after the end of stdin; read only, until interrupted. Raises
        Trouble."""
        first = _opened(self.call.next_output(), self.name)
        self._show(first)
        if not first.writing and not self.read_only:
            raise Failed(
                f"another session types to {self.name}: --take-over takes it, --read-only reads"
            )
        sources = [self.call.wake, *([] if self.read_only else [sys.stdin.fileno()])]
        while True:
            until = self._quiet.until()
            rest = None if until is None else until - time.monotonic()
            if rest is not None and rest <= 0:
                return
            ready, _, _ = select.select(sources, [], [], rest)
            if self.call.wake in ready:
                self._show(_opened(self.call.next_output(), self.name))
            if sources[-1] in ready and sources[-1] != self.call.wake and not self._send():
                sources.pop()

    def _send(self) -> bool:
        """False at the end of stdin."""
        data = os.read(sys.stdin.fileno(), READ_BYTES)
        if not data:
            self._quiet.ended = time.monotonic()
            return False
        self._quiet.sent = time.monotonic()
        self.call.send(wire.ConsoleInput(data=data))
        return True

    def _show(self, output: wire.ConsoleOutput) -> None:
        if output.notice:
            note(printable(output.notice))
        if output.data:
            self._quiet.heard = time.monotonic()
            _write(output.data)


def _opened(output: wire.ConsoleOutput | None, name: str) -> wire.ConsoleOutput:
    if output is None:
        raise Unreachable(f"the console of {name} was closed at the other end")
    return output


def _aside(text: str) -> None:
    """A line on stderr of a terminal that is raw."""
    os.write(sys.stderr.fileno(), f"{text}\r\n".encode())


def _write(data: bytes) -> None:
    """Bytes as they are, at once. Raises ReaderGone, or OutputLost when they are not written."""
    try:
        sys.stdout.flush()
        while data:
            data = data[os.write(sys.stdout.fileno(), data) :]
    except BrokenPipeError as error:
        raise ReaderGone from error
    except OSError as error:
        raise OutputLost(f"cannot write the output: {error.strerror}") from error
