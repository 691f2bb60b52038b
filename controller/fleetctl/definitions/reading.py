"""A definition in whichever of the formats it is."""

from __future__ import annotations

from fleetctl.definitions.guest import BadDefinition, Guest
from fleetctl.definitions.libvirt_guest import libvirt_guest
from fleetctl.definitions.xl_guest import xl_guest


def read_guest(content: bytes) -> Guest:
    """XML is libvirt's, all else xl's. Raises BadDefinition."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise BadDefinition(f"line {line}: not UTF-8 text") from error
    return libvirt_guest(content) if text.lstrip().startswith("<") else xl_guest(text)
