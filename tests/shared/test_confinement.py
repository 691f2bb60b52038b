"""The units are confined as far as what they do allows, as systemd itself judges them, and each has
bounds and a watchdog. tests/lab looks at them where systemd runs them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).resolve().parents[2] / "deploy" / "systemd"
# The agent needs root, /dev, /proc/sys, libvirt's socket, and to make bridges; the controller needs
# the network.
MOST_EXPOSED = {"fleet-controller.service": 1.5, "fleet-agent.service": 4.1}


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not here")
@pytest.mark.parametrize(("unit", "most"), MOST_EXPOSED.items())
def test_a_unit_is_exposed_no_more_than_it_must_be(unit: str, most: float) -> None:
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(UNITS / unit)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", judged.stdout)
    assert found, judged.stdout + judged.stderr
    assert float(found[1]) <= most, judged.stdout


@pytest.mark.parametrize("unit", MOST_EXPOSED)
def test_a_unit_has_bounds_and_a_watchdog(unit: str) -> None:
    text = (UNITS / unit).read_text()
    for setting in ("MemoryMax", "TasksMax", "LimitNOFILE", "WatchdogSec"):
        assert re.search(rf"^{setting}=\S+$", text, re.MULTILINE), setting
