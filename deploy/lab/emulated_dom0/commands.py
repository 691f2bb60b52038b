"""Running other programs: output to a log, a deadline on each, nothing left behind."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from .errors import LabError

_TAIL_LINES = 12
_running: set["subprocess.Popen[bytes]"] = set()
_running_lock = threading.Lock()


def run_logged(
    command: Sequence[str | Path],
    *,
    log: Path,
    deadline: float,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> None:
    """Run to the end within `deadline` seconds, its output appended to `log`.

    The command gets a session of its own, so that its whole process tree ends with it when it is
    interrupted or late. Raises LabError with the end of the log when it fails.
    """
    words = [str(word) for word in command]
    with open(log, "ab") as output:
        output.write(f"$ {' '.join(words)}\n".encode())
        output.flush()
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            start_new_session=True,
        )
        with _running_lock:
            _running.add(process)
        try:
            status = process.wait(timeout=deadline)
        except subprocess.TimeoutExpired as error:
            raise LabError(f"{words[0]} did not end within {deadline:.0f} s; see {log}") from error
        finally:
            with _running_lock:
                _running.discard(process)
                _kill_tree(process)
            process.wait()
    if status != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-_TAIL_LINES:])
        raise LabError(f"{words[0]} ended with status {status}; the end of {log}:\n{tail}")


def _kill_tree(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


def end_running_commands() -> None:
    """End what other threads run with `run_logged`, which then raises there."""
    with _running_lock:
        for process in _running:
            _kill_tree(process)


def read_output(command: Sequence[str | Path], *, deadline: float = 60) -> str:
    """The standard output of a short command; raises LabError when it fails."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=deadline
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LabError(f"cannot run {words[0]}: {error}") from error
    if done.returncode != 0:
        raise LabError(f"{' '.join(words)} failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


class Stopwatch:
    """Progress lines on standard output, each with the seconds since the start."""

    def __init__(self, program: str = "lab") -> None:
        self._program = program
        self._start = time.monotonic()

    def say(self, text: str) -> None:
        print(f"{self._program}: {time.monotonic() - self._start:4.0f} s  {text}", flush=True)
