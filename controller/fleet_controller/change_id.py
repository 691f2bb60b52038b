"""The id of the change that the call under way asks for, as its caller sent it; see
fleet.changes.change_id."""

from __future__ import annotations

from contextvars import ContextVar

_change = ContextVar("change_id", default="")


def set_change_id(change: str) -> None:
    """For the call under way."""
    _change.set(change)


def change_id() -> str:
    """Empty outside of a call, and where the caller sent none."""
    return _change.get()
