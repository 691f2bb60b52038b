"""The version of this agent, as its package says."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def _version() -> str:
    try:
        return version("megafleet")
    except PackageNotFoundError:
        return "0"  # run from a source tree that is not installed


VERSION = _version()
