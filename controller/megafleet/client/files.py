"""Fleet files, read for `apply`: they are the way to write a fleet, in a program as well."""

from __future__ import annotations

import os
from pathlib import Path

from megafleet.errors import InvalidArgument
from megafleet.fleet_file import parser, reading
from megafleet.fleet_file.documents import FleetFileError
from megafleet.fleet_file.parser import ParsedFleet


def read_fleets(*paths: str | os.PathLike[str]) -> list[ParsedFleet]:
    """The fleets of files and folders, in their order. Raises InvalidArgument, with every mistake
    that is in them."""
    return reading.read_fleets(
        [str(Path(one)) if os.fspath(one) != "-" else "./-" for one in paths]
    )


def parse_fleets(text: str, name: str = "text") -> list[ParsedFleet]:
    """The fleets of a text: YAML, one a document. `name`: how mistakes call it. Raises
    InvalidArgument, with every mistake that is in it."""
    try:
        return parser.parse_fleets(text, name)
    except FleetFileError as error:
        raise InvalidArgument(str(error)) from error
