"""What is wrong with the texts of a template, beyond what a pattern says.

Each function takes a text that its field's pattern allows, and returns the problem in words, or
None.
"""

from __future__ import annotations

import ipaddress
import re

from fleet.identity import DERIVED_FIRST_OCTETS
from fleet.template.placeholders import (
    NAME_PLACEHOLDERS,
    PLACEHOLDERS,
    longest,
    placeholder_problem,
)
from fleet.texts.guest_patterns import BadPattern, guest_pattern

# MAX_GUEST_CMDLINE of Xen's start_info is 1024 bytes with the closing zero.
MAX_CMDLINE_BYTES = 1023
MAX_PATH_BYTES = 255
MAX_USER_DATA_BYTES = 64 * 1024
# What may begin a key's line in authorized_keys; what is before that is options.
_KEY_TYPE = re.compile(
    r"(?:^|[ ,\"])(ssh-[a-z0-9]+|ecdsa-sha2-[a-z0-9]+|sk-[a-z0-9@.-]+) +"
    r"[A-Za-z0-9+/]{16,}={0,2}( |$)"
)


def component_problem(text: str) -> str | None:
    return "'..' is not allowed" if ".." in text else None


def path_problem(text: str) -> str | None:
    if any(part in ("", ".", "..") for part in text.split("/")[1:]):
        return "an absolute path without '.', '..' or '//' is needed"
    return None


def disk_path_problem(text: str) -> str | None:
    return (
        path_problem(text)
        or placeholder_problem(text, NAME_PLACEHOLDERS)
        or _length_problem(text, MAX_PATH_BYTES)
    )


def cmdline_problem(text: str) -> str | None:
    return placeholder_problem(text, tuple(PLACEHOLDERS)) or _length_problem(
        text, MAX_CMDLINE_BYTES
    )


def _length_problem(text: str, most: int) -> str | None:
    """Whether the longest VM's text still fits. Every placeholder in it is known."""
    length = longest(text)
    return None if length <= most else f"filled in it may be {length} characters long; {most} fit"


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


def ip_problem(text: str) -> str | None:
    try:
        ipaddress.ip_address(text)
    except ValueError as error:
        return str(error)
    return None


def gateway_problem(gateway: str, prefix: str) -> str | None:
    """Of one that a VM could not reach from its own address. What is no address or no network is
    told elsewhere."""
    try:
        address, network = ipaddress.ip_address(gateway), ipaddress.ip_network(prefix)
    except ValueError:
        return None
    if address in network or (address.version == 6 and address.is_link_local):
        return None
    return f"{gateway} is not in {prefix}, where the VMs' addresses are"


def ssh_key_problem(text: str) -> str | None:
    if _KEY_TYPE.search(text):
        return None
    return f"must be a public key such as 'ssh-ed25519 AAAA... you@there'; got {text[:60]!a}"


def user_data_problem(text: str) -> str | None:
    """Of any user data, whatever is filled in."""
    if (size := len(text.encode(errors="replace"))) > MAX_USER_DATA_BYTES:
        return f"must be at most {MAX_USER_DATA_BYTES // 1024} KiB; got {size} bytes"
    return "holds a zero byte, which no user data may" if "\0" in text else None
