"""What the agent imports from elsewhere, as wheels for the dom0's Python, so that the dom0 itself
downloads nothing. libvirt's and ZFS's bindings are not among them: those are the dom0's own
packages, which match its daemons and modules."""

import re
import sys
import tomllib
from pathlib import Path

from .chroot import scratch_folder
from .commands import run_logged
from .digest import digest
from .folders import CHECKOUT

# Debian 13's Python, and the C libraries that a wheel may ask for there.
_TARGET = (
    "--python-version=3.13",
    "--implementation=cp",
    "--platform=manylinux_2_28_x86_64",
    "--platform=manylinux_2_17_x86_64",
    "--platform=manylinux2014_x86_64",
    "--only-binary=:all:",
)
# Published as source only; they are pure Python, so a wheel made here runs there.
_SOURCE_ONLY = ("sdnotify",)
_LOCK = CHECKOUT / "requirements.lock"


def agent_requirements() -> list[str]:
    """What `pyproject.toml` asks for: the project's own dependencies and the agent's."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    return [*project["dependencies"], *project["optional-dependencies"]["agent"]]


def wheels_key() -> str:
    lock: tuple[Path, ...] = (_LOCK,) if _LOCK.exists() else ()
    return digest(Path(__file__), *agent_requirements(), *lock)


def fetch_wheels(cache: Path, log: Path) -> Path:
    """The cached folder of wheels, downloaded first if absent; versions from the lock."""
    folder = cache / f"wheels-{wheels_key()}"
    if not folder.exists():
        with scratch_folder(cache, "wheels") as scratch:
            run_logged([sys.executable, "-m", "venv", scratch / "venv"], log=log, deadline=120)
            _download(scratch / "venv" / "bin" / "python", scratch / "wheels", log)
            (scratch / "wheels").rename(folder)
    return folder


def _download(python: Path, target: Path, log: Path) -> None:
    wanted = agent_requirements()
    source_only = [text for text in wanted if re.split(r"[^\w.-]", text)[0] in _SOURCE_ONLY]
    binary = [text for text in wanted if text not in source_only]
    constraints = [f"--constraint={_LOCK}"] if _LOCK.exists() else []
    pip: list[str | Path] = [python, "-m", "pip", "--disable-pip-version-check"]
    make = [*pip, "wheel", "--no-deps", f"--wheel-dir={target}", *constraints, *source_only]
    run_logged(make, log=log, deadline=600)
    fetch = [*pip, "download", f"--dest={target}", *_TARGET, *constraints, *binary]
    run_logged(fetch, log=log, deadline=600)
