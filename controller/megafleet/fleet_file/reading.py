"""Fleet files from where they are: files, folders of them, stdin."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from megafleet.errors import InvalidArgument
from megafleet.fleet_file.documents import MAX_FILE_BYTES, FleetFileError
from megafleet.fleet_file.parser import ParsedFleet, parse_fleets

STDIN = "-"
_ENDINGS = (".yaml", ".yml")
# More are nobody's fleets, and none of them is read.
MAX_FILES = 1000


def read_fleets(names: Sequence[str]) -> list[ParsedFleet]:
    """The fleets of all files, in their order; a folder's by name. Raises InvalidArgument, with
    every mistake that is in them."""
    fleets: dict[str, tuple[str, ParsedFleet]] = {}
    mistakes: list[str] = []
    for name in _files(names):
        try:
            found = _read(name)
        except FleetFileError as error:
            mistakes.append(str(error))
            continue
        shown = _shown(name)
        for fleet in found:
            if fleet.name in fleets:
                mistakes.append(
                    f"{shown}: fleet {fleet.name} is in {fleets[fleet.name][0]} already"
                )
            fleets.setdefault(fleet.name, (shown, fleet))
    if mistakes:
        raise InvalidArgument("\n".join(mistakes))
    return [fleet for _, fleet in fleets.values()]


def is_folder(name: str) -> bool:
    return name != STDIN and Path(name).is_dir()


def _files(names: Sequence[str]) -> Iterator[str]:
    for name in names:
        if is_folder(name):
            yield from _in_folder(Path(name))
        else:
            yield name


def _in_folder(folder: Path) -> list[str]:
    """Hidden files and folders in it are left out."""
    try:
        found = sorted(
            path
            for path in folder.iterdir()
            if path.suffix in _ENDINGS and not path.name.startswith(".") and not path.is_dir()
        )
    except OSError as error:
        raise InvalidArgument(f"cannot read {folder}: {error.strerror}") from error
    if not found:
        raise InvalidArgument(f"{folder}: no fleet file in it; they end in {' or '.join(_ENDINGS)}")
    if len(found) > MAX_FILES:
        raise InvalidArgument(f"{folder}: {len(found):,} files; at most {MAX_FILES:,} are read")
    return [str(path) for path in found]


def _shown(name: str) -> str:
    return "stdin" if name == STDIN else name


def _read(name: str) -> list[ParsedFleet]:
    """Raises FleetFileError, InvalidArgument."""
    shown = _shown(name)
    try:
        if name == STDIN:
            content = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
        else:
            with open(name, "rb") as opened:
                content = opened.read(MAX_FILE_BYTES + 1)
        folder = None if name == STDIN else Path(name).parent
        return parse_fleets(content.decode(), shown, folder)
    except OSError as error:
        raise InvalidArgument(f"cannot read {shown}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InvalidArgument(f"{shown}:{line}: not UTF-8 text") from error
