"""Daemons that log nothing: a play makes thousands of lines that nobody would read."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Modules of the programs keep their logger under one of these names.
_NAMES = ("log", "_log")
_PROGRAMS = ("fleet_agent.", "fleet_controller.")


class _Silence:
    def info(self, event: str, **fields: Any) -> None: ...

    debug = warning = error = exception = info


@contextmanager
def silence() -> Iterator[None]:
    """For as long as it lasts."""
    silent = _Silence()
    found = [
        (module, name, getattr(module, name))
        for path, module in list(sys.modules.items())
        if path.startswith(_PROGRAMS)
        for name in _NAMES
        if hasattr(module, name)
    ]
    for module, name, _ in found:
        setattr(module, name, silent)
    try:
        yield
    finally:
        for module, name, logger in found:
            setattr(module, name, logger)
