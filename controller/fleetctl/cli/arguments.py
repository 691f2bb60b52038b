"""What operators type, checked before anything is called."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from fleet.identity import MAX_INDEX, checked_fleet_name, index_of
from fleet.labels import label_problem

if TYPE_CHECKING:
    from fleet.ranges import IndexSet

F = TypeVar("F", bound=Callable[..., Any])

MAX_TOTAL = MAX_INDEX + 1


def total(text: str) -> int:
    """0 to 16777216, in digits. Raises click.BadParameter."""
    if not re.fullmatch(r"-?[0-9]+", text):
        raise click.BadParameter(f"{text[:40]!r} is not a whole number")
    if len(text) > 20 or not 0 <= int(text) <= MAX_TOTAL:
        raise click.BadParameter(f"{text[:40]} is outside 0 to {MAX_TOTAL:,}")
    return int(text)


_SPANS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
LONGEST_SPAN = 7 * 86_400.0


def span(text: str) -> float:
    """Seconds, from 90s, 10m, 2h or 1d; up to a week. Raises click.BadParameter."""
    match = re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)([smhd])", str(text))
    value = float(match[1]) * _SPANS[match[2]] if match else 0.0
    if not 0 < value <= LONGEST_SPAN:
        raise click.BadParameter(f"{str(text)[:40]!r} is no time up to 7d, such as 90s or 10m")
    return value


def waiting_time(text: str) -> float:
    """Seconds, from a number of them or as a span: 480, 8m. Raises click.BadParameter."""
    digits = re.fullmatch(r"[0-9]{1,6}(?:\.[0-9]{1,3})?", str(text))
    value = float(str(text)) if digits else span(text)
    if not 0.1 <= value <= LONGEST_SPAN:
        raise click.BadParameter(f"{str(text)[:40]!r} is outside 0.1 s to 7d")
    return value


def for_so_long(text: str) -> int:
    """Whole seconds from one minute on, as a span: 30m, 2h; 0 where nothing was given. Raises
    click.BadParameter."""
    if not text:
        return 0
    value = span(text)
    if value < 60 or value != int(value):
        raise click.BadParameter(f"{text[:40]!r} is outside 1m to 7d, in whole seconds")
    return int(value)


def fleet_name(text: str) -> str:
    """A name that a fleet may have; empty where none was given. Raises click.BadParameter."""
    try:
        return checked_fleet_name(text) if text else ""
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def change_id(text: str) -> str:
    """The id of a change; empty where none was given. Raises click.BadParameter."""
    from fleet.changes.change_id import is_change_id

    if text and not is_change_id(text):
        raise click.BadParameter(f"{text[:80]!r} is no id of a change: -v tells those")
    return text


def indices(text: str) -> IndexSet:
    """Indices and ranges of them: 0-99,300. Raises click.BadParameter."""
    from fleet.ranges import parse_ranges

    try:
        parsed = parse_ranges(text[:100_000])
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    if parsed.last > MAX_INDEX:
        raise click.BadParameter(f"index {parsed.last} is beyond {MAX_INDEX:,}")
    return parsed


def vm(text: str) -> tuple[str, int]:
    """A VM by its name, spv-250, or by its index alone; then the fleet is empty. Raises
    click.BadParameter."""
    fleet, _, _ = text.rpartition("-")
    index = index_of(text if fleet else f"vm-{text}", fleet or "vm") if len(text) <= 80 else None
    if index is None or index > MAX_INDEX:
        raise click.BadParameter(f"{text[:80]!r} is no VM; write its name, such as spv-250")
    return fleet_name(fleet), index


def label(text: str) -> tuple[str, str]:
    """A label and its value: rack=r7. Raises click.BadParameter."""
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise click.BadParameter(f"{text[:80]!r} is no label; write name=value")
    if problem := label_problem(key, value):
        raise click.BadParameter(problem)
    return key, value


Labels = tuple[tuple[str, str], ...]


def labels_of(text: str) -> Labels:
    """Labels and their values: rack=r7,zone=a; none where nothing was given. Raises
    click.BadParameter."""
    return tuple(label(one.strip()) for one in text.split(",")) if text else ()


# What an image may be called, as in the fleet file.
_IMAGE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,63})(?:@([A-Za-z0-9][A-Za-z0-9._-]{0,63}))?")
_UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
MAX_BYTES = 64 << 40


class ImageId(NamedTuple):
    """A golden image as it was typed; the snapshot is empty where none was named."""

    name: str
    snapshot: str

    def __str__(self) -> str:
        return f"{self.name}@{self.snapshot}" if self.snapshot else self.name

    def with_snapshot(self, default: str) -> ImageId:
        return ImageId(self.name, self.snapshot or default)


def image_name(text: str) -> ImageId:
    """golden, or golden@1. Raises click.BadParameter."""
    match = _IMAGE.fullmatch(text)
    if match is None:
        raise click.BadParameter(
            f"{text[:80]!r} names no image; write NAME or NAME@SNAPSHOT, each of up to 64 letters, "
            "digits, '.', '_' and '-'"
        )
    return ImageId(match[1], match[2] or "")


def whole_image_name(text: str) -> ImageId:
    """golden@1. Raises click.BadParameter."""
    image = image_name(text)
    if not image.snapshot:
        raise click.BadParameter(f"{text[:80]!r} names no snapshot; write NAME@SNAPSHOT")
    return image


def digest(text: str) -> str:
    """sha256: and 64 digits; empty where none was given. Raises click.BadParameter."""
    if text and not re.fullmatch(r"sha256:[0-9a-f]{64}", text):
        raise click.BadParameter(
            f"{text[:80]!r} is no digest: sha256: and 64 lower-case hexadecimal digits"
        )
    return text


def byte_count(text: str) -> int:
    """2GiB, or so many bytes. Raises click.BadParameter."""
    match = re.fullmatch(r"([0-9]{1,20})(KiB|MiB|GiB|TiB)?", str(text))
    value = int(match[1]) * _UNITS[match[2] or ""] if match else -1
    if not 0 <= value <= MAX_BYTES:
        raise click.BadParameter(f"{str(text)[:40]!r} is no size up to 64TiB, such as 256MiB")
    return value


total_option = click.option(
    "--total",
    metavar="NUMBER",
    type=total,
    required=True,
    help="How many VMs the fleet is to have.",
)


def selector_option_with(sentence: str) -> Callable[[F], F]:
    """--selector, with its own line in the help."""
    return click.option(
        "--selector", metavar="NAME=VALUE,...", type=labels_of, default="", help=sentence
    )


fleet_argument = click.argument("fleet", metavar="[FLEET]", type=fleet_name, default="")
vm_argument = click.argument("vm", metavar="VM", type=vm)
fleet_option = click.option(
    "--fleet", metavar="FLEET", type=fleet_name, default="",
    help="The fleet; may be left out while there is only one.",
)  # fmt: skip
