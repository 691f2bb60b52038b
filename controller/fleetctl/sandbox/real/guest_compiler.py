"""What compiles the guest's one program of ours: the machine's C compiler, or else Debian's
smallest one, unpacked and not installed. The program needs no C library."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fleetctl.sandbox.errors import SandboxError

COMPILER_PACKAGE = "tcc"
_SECONDS = 120.0
_GCC = (
    *("-Os", "-static", "-nostdlib", "-ffreestanding", "-fno-builtin", "-fno-stack-protector"),
    *("-fno-pie", "-no-pie", "-s"),
)
_TCC = ("-nostdlib", "-static")


@dataclass(frozen=True, slots=True)
class Compiler:
    """A command, without what is compiled."""

    command: Sequence[str]

    def compile(self, source: Path, program: Path) -> None:
        """A static program. Raises SandboxError."""
        command = [*self.command, "-o", str(program), str(source)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
        except (OSError, subprocess.SubprocessError) as error:
            raise SandboxError(f"{command[0]} cannot be run for the guest: {error}") from error
        if done.returncode:
            raise SandboxError(f"the guest's program does not compile: {done.stderr.strip()[:300]}")
        program.chmod(0o755)


def installed_compiler() -> Compiler | None:
    """This machine's own."""
    for name, options in (("gcc", _GCC), ("tcc", _TCC)):
        if found := shutil.which(name):
            return Compiler((found, *options))
    return None


def unpacked_compiler(tree: Path) -> Compiler:
    """The one of a package that was unpacked into a tree. Raises SandboxError."""
    program = tree / "usr" / "bin" / "tcc"
    own = next(tree.glob("usr/lib/*/tcc"), None)
    if own is None or not program.is_file():
        raise SandboxError(f"{COMPILER_PACKAGE} does not hold what it did: report this")
    return Compiler((str(program), "-B", str(own), *_TCC))
