"""Each package is a room: it is in the contracts, in ARCHITECTURE.md, and describes itself."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.rooms import PAGE, ROOT, rooms, with_rooms

# A folder that holds more has rooms of its own in it.
MOST_MODULES = 16
SOURCES = ("proto", "controller", "agent")
SIMULATOR = "tests/simulation"


def packages() -> Iterator[Path]:
    for source in SOURCES:
        yield from (init.parent for init in (ROOT / source).rglob("__init__.py"))


def test_the_architectures_table_of_rooms_is_as_the_code() -> None:
    page = PAGE.read_text()
    assert page == with_rooms(page), "run python -m tests.architecture.rooms"
    assert len(list(rooms())) > 40


@pytest.mark.parametrize("package", list(packages()), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_room_is_crowded_and_each_says_what_belongs_there(package: Path) -> None:
    modules = [one for one in package.glob("*.py") if not one.stem.endswith(("_pb2", "_grpc"))]
    assert len(modules) - 1 <= MOST_MODULES
    lines = (package / "__init__.py").read_text().splitlines()
    assert lines and lines[0].startswith('"""')


@pytest.mark.parametrize(
    "stray",
    [
        "controller/fleet_controller/stray.py",
        "controller/fleet_controller/core/stray.py",
        "controller/fleetctl/stray.py",
        "controller/megafleet/stray.py",
        "agent/fleet_agent/stray.py",
        "agent/fleet_agent/core/stray.py",
        "agent/fleet_agent/drivers/stray.py",
        "tests/simulation/stray.py",
    ],
)
def test_a_module_outside_the_rooms_fails_the_contracts(tmp_path: Path, stray: str) -> None:
    for source in (*SOURCES, SIMULATOR):
        shutil.copytree(ROOT / source, tmp_path / source)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / stray).write_text('"""Belongs nowhere."""\n')
    path = ":".join(str(tmp_path / source) for source in SOURCES)
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [linter, "--no-cache"], cwd=tmp_path, env={"PYTHONPATH": path}, text=True, timeout=120,
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert stray.rpartition("/")[2].removesuffix(".py") in done.stdout, done.stdout
