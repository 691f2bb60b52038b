"""What a sample of settings and a unit in deploy/ make: a command line."""

from __future__ import annotations

import re
import shlex
from pathlib import Path


def environment(file: Path) -> dict[str, str]:
    """As systemd's EnvironmentFile= reads it, without quotes, which the samples do not use."""
    lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
    assert all("'" not in line and '"' not in line for line in lines)
    return dict(line.split("=", 1) for line in lines)


def command(unit: Path, variables: dict[str, str]) -> list[str]:
    """What ExecStart runs. Raises KeyError for a variable that the sample does not set."""
    text = unit.read_text().replace("\\\n", " ")
    line = next(one for one in text.splitlines() if one.startswith("ExecStart="))
    words = [
        part
        for word in shlex.split(line.removeprefix("ExecStart="))
        # A variable that is a word of its own and has no braces is split: systemd.service(5).
        for part in (variables[word[1:]].split() if re.fullmatch(r"\$\w+", word) else [word])
    ]
    return [re.sub(r"\$\{(\w+)\}", lambda name: variables[name[1]], word) for word in words]
