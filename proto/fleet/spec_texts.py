"""What is wrong with the texts of a template, beyond what a pattern says.

Each function takes a text that its field's pattern allows, and returns the problem in words, or
None.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence

from fleet.guest_patterns import BadPattern, guest_pattern
from fleet.identity import DERIVED_FIRST_OCTETS, MAX_INDEX, MAX_NAME_LENGTH

# MAX_GUEST_CMDLINE of Xen's start_info is 1024 bytes with the closing zero.
MAX_CMDLINE_BYTES = 1023
MAX_PATH_BYTES = 255
PLACEHOLDERS: Mapping[str, int] = {  # of the command line; the longest that each becomes
    "name": MAX_NAME_LENGTH + 1 + len(str(MAX_INDEX)),
    "index": len(str(MAX_INDEX)),
    "mac": len("02:00:00:00:00:00"),
    "address": len("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128"),
}
DISK_PLACEHOLDERS = ("name", "index")

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


def component_problem(text: str) -> str | None:
    return "'..' is not allowed" if ".." in text else None


def path_problem(text: str) -> str | None:
    if any(part in ("", ".", "..") for part in text.split("/")[1:]):
        return "an absolute path without '.', '..' or '//' is needed"
    return None


def disk_path_problem(text: str) -> str | None:
    return (
        path_problem(text)
        or _placeholder_problem(text, DISK_PLACEHOLDERS)
        or _length_problem(text, MAX_PATH_BYTES)
    )


def cmdline_problem(text: str) -> str | None:
    return _placeholder_problem(text, tuple(PLACEHOLDERS)) or _length_problem(
        text, MAX_CMDLINE_BYTES
    )


def asks_for(text: str, *placeholders: str) -> bool:
    """Whether at least one of them stands in the text."""
    return any(f"{{{name}}}" in text for name in placeholders)


def _placeholder_problem(text: str, offered: Sequence[str]) -> str | None:
    """Placeholders are the only braces."""
    words = [f"{{{name}}}" for name in offered]
    listed = f"{', '.join(words[:-1])} and {words[-1]}"
    for found in _PLACEHOLDER.finditer(text):
        if found[1] not in offered:
            return f"{found[0]!r} is no placeholder; {listed} are"
    if re.search(r"[{}]", _PLACEHOLDER.sub("", text)):
        return f"a brace stands alone; {listed} are the placeholders"
    return None


def _length_problem(text: str, most: int) -> str | None:
    """Whether the longest VM's text still fits. Every placeholder in it is known."""
    longest = len(_PLACEHOLDER.sub(lambda found: "x" * PLACEHOLDERS[found[1]], text))
    return None if longest <= most else f"filled in it may be {longest} characters long; {most} fit"


def prefix_problem(text: str) -> str | None:
    try:
        network = ipaddress.ip_network(text, strict=True) if text else None
    except ValueError as error:
        return f"{error}; write a network such as 10.0.0.0/8"
    if network and network.num_addresses < 4:
        return f"{text} has no address for a VM"
    return None


def mac_base_problem(text: str) -> str | None:
    first = int(text[:2], 16)
    if first & 1:
        return f"{text} is the address of a group, since its first octet is odd"
    if first in DERIVED_FIRST_OCTETS:
        return f"addresses that begin with {text[:2]} are those that fleets derive"
    if first == 0xFE:
        return "addresses that begin with fe are those of the hosts' ends of interfaces"
    return None


def regular_expression_problem(text: str) -> str | None:
    try:
        guest_pattern(text)
    except BadPattern as error:
        return (
            f"not a regular expression of RE2, which knows no look-around and no "
            f"back-references: {error}"
        )
    return None
