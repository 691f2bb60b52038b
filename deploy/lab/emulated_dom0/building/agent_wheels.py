"""What the agent imports from elsewhere, as wheels for the dom0's Python, so that the dom0 itself
downloads nothing. libvirt's and ZFS's bindings are not among them: those are the dom0's own
packages, which match its daemons and modules."""

import re
import sys
from pathlib import Path

from ..commands import run_logged
from ..folders import CHECKOUT, LAB_SOURCES
from .chroot import scratch_folder
from .digest import digest

# Debian 13's Python, and the C libraries that a wheel may ask for there.
_TARGET = (
    "--python-version=3.13",
    "--implementation=cp",
    "--platform=manylinux_2_28_x86_64",
    "--platform=manylinux_2_17_x86_64",
    "--platform=manylinux2014_x86_64",
    "--only-binary=:all:",
)
# Published as source only; it is pure Python, so a wheel made here runs there.
_SOURCE_ONLY = "sdnotify"
# Versions and hashes: of what the agent needs, and of what builds the one from source.
_LOCK = LAB_SOURCES / "agent.lock"
_BUILD_LOCK = CHECKOUT / "deploy" / "build.lock"


def wheels_key() -> str:
    return digest(Path(__file__), _LOCK)


def fetch_wheels(cache: Path, log: Path) -> Path:
    """The cached folder of wheels, downloaded first if absent."""
    folder = cache / f"wheels-{wheels_key()}"
    if not folder.exists():
        with scratch_folder(cache, "wheels") as scratch:
            run_logged([sys.executable, "-m", "venv", scratch / "venv"], log=log, deadline=120)
            _download(scratch, scratch / "wheels", log)
            (scratch / "wheels").rename(folder)
    return folder


def _download(scratch: Path, target: Path, log: Path) -> None:
    binary, source = scratch / "binary.lock", scratch / "source.lock"
    _split_lock(binary, source)
    pip: list[str | Path] = [scratch / "venv" / "bin" / "python", "-m", "pip"]
    hashed = ["--disable-pip-version-check", "--no-deps", "--require-hashes"]
    fetch = [*pip, "download", *hashed, *_TARGET, "-d", target, "-r", binary]
    run_logged(fetch, log=log, deadline=600)
    run_logged([*pip, "install", *hashed, "-r", _BUILD_LOCK], log=log, deadline=600)
    make = [*pip, "wheel", *hashed, "--no-build-isolation", "-w", target, "-r", source]
    run_logged(make, log=log, deadline=600)


def _split_lock(binary: Path, source: Path) -> None:
    """An entry begins at a line's start; its hashes follow on indented lines."""
    entries = re.split(r"^(?=\S)", _LOCK.read_text(), flags=re.MULTILINE)
    from_source = [entry for entry in entries if entry.startswith(f"{_SOURCE_ONLY}==")]
    binary.write_text("".join(entry for entry in entries if entry not in from_source))
    source.write_text("".join(from_source))
