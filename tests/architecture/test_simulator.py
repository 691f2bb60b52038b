"""The simulator's rooms: each imports only what stands before it."""

from __future__ import annotations

import re

from tests.architecture.rooms import ROOT

FLOORS = ("engine", "doubles", "rules", "world", "faults")
FOLDER = ROOT / "tests" / "simulation"


def test_each_room_imports_only_what_stands_before_it() -> None:
    seen = 0
    for floor, room in enumerate(FLOORS):
        modules = sorted((FOLDER / room).glob("*.py")) or [FOLDER / f"{room}.py"]
        for module in modules:
            for other in re.findall(r"from tests\.simulation\.(\w+)", module.read_text()):
                seen += 1
                assert other in FLOORS[: floor + 1], f"{module.name} imports {other}"
    assert seen > 60
