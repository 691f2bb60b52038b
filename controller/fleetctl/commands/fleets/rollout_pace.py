"""The options that say at what pace a rollout goes, and what it does where that goes wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from fleet.v1 import cluster_pb2 as cluster

F = TypeVar("F", bound=Callable[..., Any])


def share(text: str) -> float:
    """20%, or 0.2; above 0, up to 1. Raises click.BadParameter."""
    match = re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,4})?)(%?)", str(text))
    value = float(match[1]) / (100 if match[2] else 1) if match else 0.0
    if not 0 < value <= 1:
        raise click.BadParameter(f"{str(text)[:40]!r} is no share such as 5% or 0.05")
    return value


def amount(text: str) -> tuple[int, float]:
    """A number of VMs, or a share of them: 10, 5%. Raises click.BadParameter."""
    if re.fullmatch(r"[1-9][0-9]{0,7}", str(text)):
        return int(text), 0.0
    if str(text).endswith("%"):
        return 0, share(text)
    raise click.BadParameter(f"{str(text)[:40]!r} is neither a number of VMs nor a share as 5%")


def pace_options(command: F) -> F:
    """Given to the command as `unavailable`, `by_label`, `halt_share` and `undo_on_halt`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


_OPTIONS = (
    click.option(
        "--max-unavailable", "unavailable", metavar="N|N%", type=amount, default="5%",
        show_default=True, help="VMs that may be down at once for it.",
    ),
    click.option(
        "--by-label", default="",
        help="One value of this label of hosts after another, such as rack.",
    ),
    click.option(
        "--halt-share", metavar="SHARE", type=share, default="20%", show_default=True,
        help="It halts by itself when more of the changed VMs fail.",
    ),
    click.option(
        "--undo-on-halt", is_flag=True, help="Where it would halt, it is undone by itself instead."
    ),
)  # fmt: skip


def set_pace(
    request: cluster.RolloutRequest,
    unavailable: tuple[int, float],
    by_label: str,
    halt_share: float,
    undo_on_halt: bool,
) -> None:
    request.max_unavailable, request.max_unavailable_share = unavailable
    request.by_label, request.halt_share = by_label, halt_share
    request.undo_on_halt = undo_on_halt
