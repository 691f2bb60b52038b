"""Everything about a VM that follows from (fleet, index): nothing is drawn at random.

Fleet numbers have 12 bits and sites 4, indices 24, interfaces of a VM 3: each is
range-checked, so that no MAC address can run over into a neighbour's.
"""

from __future__ import annotations

import ipaddress
import re
import uuid
from dataclasses import dataclass
from functools import lru_cache

MAX_INDEX = 2**24 - 1
MAX_FLEET_NUMBER = 2**12 - 1
MAX_SITE = 2**4 - 1
MAX_NIC = 2**3 - 1  # number of a VM's last possible interface
DERIVED_FIRST_OCTETS = frozenset(0x02 + 4 * nic for nic in range(MAX_NIC + 1))
MAC_PATTERN = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")
MAC_BASE_ROOM = 2**24  # a base's index is added to its last three octets
MAX_PREFIX_LENGTH = 128

# The hexadecimal digit of a UUID that has the variant in its first two bits.
_VARIANT = {f"{digit:x}": f"{digit & 3 | 8:x}" for digit in range(16)}

# A fleet's name is the start of domain names, dataset names and file names: lower-case
# letters, digits and single hyphens; room is left for "-16777215" within 63 characters.
NAME_PATTERN = re.compile(r"[a-z](?:-?[a-z0-9])*")
MAX_NAME_LENGTH = 40


@dataclass(frozen=True, slots=True)
class Fleet:
    """What identifies a fleet on every host. `uid` is a UUID in its usual spelling."""

    uid: str
    name: str
    number: int
    site: int = 0

    def domain_name(self, index: int) -> str:
        """spv-250 for index 250 of fleet spv."""
        return f"{self.name}-{checked_index(index)}"

    def domain_uuid(self, index: int) -> uuid.UUID:
        """UUID v5 of the index in the fleet's own namespace: a new uid, new UUIDs."""
        return uuid.UUID(self.domain_uuid_text(index))

    def domain_uuid_text(self, index: int) -> str:
        """The same as it is written: a list has a million of them."""
        from hashlib import sha1  # it takes a while to load, and is seldom needed

        name = _namespace(self.uid) + str(checked_index(index)).encode()
        text = sha1(name, usedforsecurity=False).hexdigest()
        variant = _VARIANT[text[16]]  # of RFC 9562, whose version is 5
        return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{variant}{text[17:20]}-{text[20:32]}"

    def dataset_name(self, index: int) -> str:
        """The last component of the clone's dataset: the domain's name."""
        return self.domain_name(index)

    def mac(self, index: int, nic: int = 0) -> str:
        """The address of interface `nic`: 02 + 4 * nic, then site (4 bits), fleet number (12)
        and index (24).

        The two lowest bits of the first octet make it locally administered and unicast. Raises
        ValueError when one of the parts does not fit.
        """
        if not 0 <= self.site <= MAX_SITE or not 0 <= self.number <= MAX_FLEET_NUMBER:
            raise ValueError(f"site {self.site} or fleet number {self.number} has too many bits")
        if not 0 <= nic <= MAX_NIC:
            raise ValueError(f"interface {nic} is outside 0..{MAX_NIC}")
        bits = (self.site << 36) | (self.number << 24) | checked_index(index)
        return ((0x02 + 4 * nic) << 40 | bits).to_bytes(6, "big").hex(":")

    def interface_mac(self, index: int, nic: int, base: str) -> str:
        """The address of interface `nic`: that of `base` with the index added to its last three
        octets; without a base the derived one.

        Raises ValueError where the base is no address, or leaves no room for the index.
        """
        if not base:
            return self.mac(index, nic)
        number = _mac_number(base)
        if number % MAC_BASE_ROOM + checked_index(index) >= MAC_BASE_ROOM:
            raise ValueError(f"mac_base {base} has no address for index {index}")
        return (number + index).to_bytes(6, "big").hex(":")

    def address(self, index: int, prefix: str) -> str:
        """The index-th host address of a CIDR prefix, after its first (the gateway's).

        Raises ValueError when the prefix is wrong or has no such address.
        """
        kind, first, room = _hosts_of(prefix)
        offset = checked_index(index) + 2
        if offset >= room:
            raise ValueError(f"{prefix} has no address for index {index}")
        return str(kind(first + offset))

    def interface_address(self, index: int, prefix: str) -> str:
        """The same with the prefix's length, as an interface is given it: 10.0.0.2/8."""
        return f"{self.address(index, prefix)}/{prefix.partition('/')[2]}"


@lru_cache(maxsize=64)
def _namespace(uid: str) -> bytes:
    return uuid.UUID(uid).bytes


@lru_cache(maxsize=64)
def _mac_number(text: str) -> int:
    if not MAC_PATTERN.fullmatch(text):
        raise ValueError(f"mac_base {text[:60]!a} is no MAC address")
    return int(text.replace(":", ""), 16)


@lru_cache(maxsize=64)
def _hosts_of(
    prefix: str,
) -> tuple[type[ipaddress.IPv4Address] | type[ipaddress.IPv6Address], int, int]:
    """What addresses of the prefix are, its own as a number, and below which offset hosts are: the
    last one of IPv4 is for all of them."""
    network = ipaddress.ip_network(prefix, strict=True)
    room = network.num_addresses - (1 if network.version == 4 else 0)
    return type(network.network_address), int(network.network_address), room


def checked_index(index: int) -> int:
    """The index itself. Raises ValueError outside 0..MAX_INDEX."""
    if not 0 <= index <= MAX_INDEX:
        raise ValueError(f"index {index} is outside 0..{MAX_INDEX}")
    return index


def checked_fleet_name(name: str) -> str:
    """The name itself. Raises ValueError saying what a fleet may be called."""
    if len(name) > MAX_NAME_LENGTH or not NAME_PATTERN.fullmatch(name):
        raise ValueError(
            f"a fleet's name is 1 to {MAX_NAME_LENGTH} lower-case letters, digits and single "
            f"hyphens, beginning with a letter; got {name[:60]!r}"
        )
    return name


def index_of(domain_name: str, fleet_name: str) -> int | None:
    """The index in a domain's or dataset's name, or None when it is not of that fleet."""
    prefix, _, digits = domain_name.rpartition("-")
    canonical = digits.isascii() and digits.isdecimal() and str(int(digits)) == digits
    return int(digits) if prefix == fleet_name and canonical else None
