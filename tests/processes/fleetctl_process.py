"""Runs fleetctl, and hands back its exit code and what it said."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from fleetctl.main import run

LIMIT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Said:
    """One run. `err` is what was said on stderr."""

    code: int
    out: str
    err: str

    @property
    def told(self) -> str:
        """What was said on stderr, but for the id of a change."""
        lines = self.err.splitlines(keepends=True)
        return "".join(line for line in lines if not line.startswith("fleetctl: change "))

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class Fleetctl:
    """fleetctl with an environment of its own: no context but what the folder's file holds."""

    folder: Path
    endpoints: tuple[str, ...] = ()
    identity: Path | None = None

    @property
    def environment(self) -> dict[str, str]:
        return {
            "MEGAFLEET_CONFIG": str(self.folder / "config.toml"),
            "MEGAFLEET_ENDPOINTS": ",".join(self.endpoints),
            "MEGAFLEET_IDENTITY": str(self.identity or ""),
            "MEGAFLEET_CONTEXT": "",
            "NO_COLOR": "1",
        }

    def __call__(self, *arguments: str, text: str = "") -> Said:
        """In this process: what a process of its own would say, many times faster."""
        out, err = io.StringIO(), io.StringIO()
        stdin = io.TextIOWrapper(io.BytesIO(text.encode()))
        with (
            mock.patch.dict(os.environ, self.environment),
            mock.patch("sys.stdin", stdin),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            code = run(arguments)
        return Said(code, out.getvalue(), err.getvalue())

    def process(self, *arguments: str) -> Said:
        """In a process of its own."""
        with self.start(*arguments) as started:
            out, err = started.communicate(timeout=LIMIT_SECONDS)
        assert "Traceback" not in err, err
        return Said(started.returncode, out, err)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.arguments(*arguments),
            env=self.whole_environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def whole_environment(self) -> dict[str, str]:
        return os.environ | self.environment

    @staticmethod
    def arguments(*arguments: str) -> list[str]:
        """What to execute for a process of its own."""
        return [sys.executable, "-c", "from fleetctl.main import main; main()", *arguments]
