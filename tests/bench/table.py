"""The table that a benchmark ends with, and the conditions it was measured under."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.bench.machine_speed import loop_ms
from tests.bench.measures import Measured


def tell(out: Measured, conditions: dict[str, Any], file: Path) -> bool:
    """Prints it, and writes it as JSON. Whether a figure misses what it must be."""
    conditions["loop_ms_at_end"] = loop_ms()
    conditions["load_at_end"] = [round(load, 2) for load in os.getloadavg()]
    file.write_text(json.dumps({"conditions": conditions} | out.as_json(), indent=2) + "\n")
    _say(out, conditions)
    return any(figure.verdict == "MISSED" for figure in out.figures)


def conditions_here() -> dict[str, Any]:
    return {
        "cpus": os.cpu_count(),
        "machine": platform.machine(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "grpcio": version("grpcio"),
        "loop_ms_at_start": loop_ms(),
        "load_at_start": [round(load, 2) for load in os.getloadavg()],
        "all_parties_on_this_machine": True,
        "mtls": True,
    }


def _say(out: Measured, conditions: dict[str, Any]) -> None:
    width = max(len(figure.what) for figure in out.figures)
    print(f"{'what':{width}}  {'seen':>12}  {'must':>8}  {'aim':>8}")
    for row in out.figures:
        seen = f"{row.value:,.3g} {row.unit}" if row.value < 100 else f"{row.value:,.0f} {row.unit}"
        print(f"{row.what:{width}}  {seen:>12}  {row.must:>8,g}  {row.aim:>8,g}  {row.verdict}")
    print(json.dumps(out.notes))
    print("conditions: " + ", ".join(f"{key} {value}" for key, value in conditions.items()))
