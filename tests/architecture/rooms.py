"""Writes the table of rooms into ARCHITECTURE.md, from the import contracts and each `__init__`.

.venv/bin/python -m tests.architecture.rooms
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "ARCHITECTURE.md"
BEGIN, END = "<!-- rooms: python -m tests.architecture.rooms -->\n", "<!-- end of rooms -->\n"
SOURCES = {
    "fleet_controller": "controller",
    "fleetctl": "controller",
    "megafleet": "controller",
    "fleet_agent": "agent",
}


def with_rooms(page: str) -> str:
    """The page with its table as the code is now."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + table() + END + after


def table() -> str:
    """One row a room, the highest floor first."""
    rows = [f"| `{room}` | {what} |\n" for room, what in rooms()]
    return "| room | what belongs there |\n|---|---|\n" + "".join(rows)


def rooms() -> Iterator[tuple[str, str]]:
    """Paths of packages from the root, and their first sentence, in the order of the contracts."""
    shared = ROOT / "proto" / "fleet"
    yield "proto/fleet", _sentence(shared / "__init__.py")
    for room in ("serving", "states", "certificates", "template"):
        yield f"proto/fleet/{room}", _sentence(shared / room / "__init__.py")
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = settings["tool"]["importlinter"]["contracts"]
    floors = {one["containers"][0]: one["layers"] for one in contracts if one["type"] == "layers"}
    for program in SOURCES:
        yield from _rooms_of(program, floors)


def _rooms_of(container: str, floors: dict[str, list[str]]) -> Iterator[tuple[str, str]]:
    for floor in floors[container]:
        for name in re.findall(r"\w+", floor):
            package = f"{container}.{name}"
            path = f"{SOURCES[container.split('.')[0]]}/{package.replace('.', '/')}"
            if (ROOT / path).is_dir():
                yield path, _sentence(ROOT / path / "__init__.py")
                if package in floors:
                    yield from _rooms_of(package, floors)


def _sentence(init: Path) -> str:
    text = ast.get_docstring(ast.parse(init.read_text())) or ""
    return " ".join(text.split("\n\n")[0].split())


if __name__ == "__main__":
    PAGE.write_text(with_rooms(PAGE.read_text()))
