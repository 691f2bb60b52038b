"""The Debian mirror that the image is built from: MIRROR, or the one this machine's apt uses."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from ..errors import LabError

# A base suite of Debian's own archive: neither its security or backports suites, nor a third
# party's suite that is named after Debian's.
_BASE_SUITE = re.compile(r"(bookworm|trixie|forky|sid|stable|testing|unstable|oldstable)")
_ONE_LINE = re.compile(r"deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)\s+(.+)")


def debian_mirror(apt_folder: Path = Path("/etc/apt")) -> str:
    """The mirror's URI, for instance `http://mirror.example/debian`."""
    named = os.environ.get("MIRROR")
    if named:
        return named
    for source in (*_deb822_sources(apt_folder), *_one_line_sources(apt_folder)):
        return source
    raise LabError(
        f"no Debian mirror found under {apt_folder}; name one, for instance with "
        "MIRROR=http://YOUR-MIRROR/debian in the environment"
    )


def _deb822_sources(apt_folder: Path) -> Iterator[str]:
    for file in sorted(apt_folder.glob("sources.list.d/*.sources")):
        for paragraph in re.split(r"\n\s*\n", file.read_text()):
            fields = _fields(paragraph)
            if "deb" not in fields.get("types", "").split():
                continue
            if fields.get("enabled", "yes").lower() == "no":
                continue
            if _is_base(fields.get("suites", "").split(), fields.get("components", "").split()):
                yield fields["uris"].split()[0]


def _fields(paragraph: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    name = ""
    for line in paragraph.splitlines():
        if line.startswith("#") or not line.strip():
            continue
        if line[0].isspace():
            fields[name] = f"{fields.get(name, '')} {line.strip()}"
        else:
            name, _, value = line.partition(":")
            name = name.lower()
            fields[name] = value.strip()
    return fields


def _one_line_sources(apt_folder: Path) -> Iterator[str]:
    for file in (apt_folder / "sources.list", *sorted(apt_folder.glob("sources.list.d/*.list"))):
        for line in file.read_text().splitlines() if file.is_file() else ():
            found = _ONE_LINE.match(line.strip())
            if found and _is_base([found[2]], found[3].split()):
                yield found[1]


def _is_base(suites: list[str], components: list[str]) -> bool:
    return "main" in components and any(_BASE_SUITE.fullmatch(suite) for suite in suites)
