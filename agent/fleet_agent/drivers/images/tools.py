"""Programs that imports run: found, watched, ended with their import. Blocking, never a shell."""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import IO

from fleet_agent.drivers.ports.images import ImageError, ToolMissing

# Where root's programs are, which a service's or a user's PATH may lack.
_SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")
# Between two looks at a program that says nothing.
LOOK_SECONDS = 0.2


class ToolFailed(ImageError):
    """A program ended with an error; its last words."""


def found(program: str, package: str, purpose: str) -> str:
    """The program's path. Raises ToolMissing."""
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), *_SBIN))
    file = shutil.which(program, path=path)
    if file is None:
        raise ToolMissing(
            f"{purpose} takes {program}, which is not on this host: install {package}"
        )
    return file


def run(
    command: Sequence[str],
    on_output: Callable[[bytes], None],
    environment: Mapping[str, str] | None = None,
    fine: Collection[int] = (0,),
) -> None:
    """Run a program to its end, with an exit code that is `fine`; `on_output` hears what it prints,
    and at least every LOOK_SECONDS that it still runs. What `on_output` raises ends the program.
    Raises ToolFailed."""
    with tempfile.TemporaryFile() as errors:
        with begun(command, stdout=subprocess.PIPE, stderr=errors, environment=environment) as it:
            assert it.stdout is not None
            for said in prints(it.stdout):
                on_output(said)
            while True:
                try:
                    code = it.wait(LOOK_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    on_output(b"")
        if code not in fine:
            raise ToolFailed(f"{os.path.basename(command[0])} failed: {last_words(errors)}")


@contextlib.contextmanager
def begun(
    command: Sequence[str],
    *,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    stdout: int | IO[bytes] = subprocess.DEVNULL,
    stderr: int | IO[bytes] = subprocess.DEVNULL,
    environment: Mapping[str, str] | None = None,
    pass_fds: Collection[int] = (),
) -> Iterator[subprocess.Popen[bytes]]:
    """A program that is ended with the block, if it has not ended by then."""
    process = subprocess.Popen(
        command,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env={**os.environ, "LC_ALL": "C", **(environment or {})},
        pass_fds=pass_fds,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what was not written yet is not wanted
                    pipe.close()
        process.wait()


def last_words(errors: IO[bytes]) -> str:
    """The last line that a program wrote to this file."""
    errors.seek(max(0, errors.seek(0, os.SEEK_END) - 4096))
    lines = errors.read().decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:400] if lines else "it said nothing"


def prints(output: IO[bytes]) -> Iterator[bytes]:
    """What the program prints, piece by piece; empty ones while it prints nothing."""
    with selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        while True:
            if not selector.select(LOOK_SECONDS):
                yield b""
            elif not (said := os.read(output.fileno(), 65536)):
                return
            else:
                yield said
