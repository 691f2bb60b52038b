"""One guest as a definition says it, whatever the definition's format."""

from __future__ import annotations

from dataclasses import dataclass, field

from fleet.template.field import shown


class BadDefinition(Exception):
    """A definition that cannot be read: one sentence."""


@dataclass(slots=True)
class GuestDisk:
    """`raw`: whether its content is a disk as it stands, in no other format."""

    target: str
    path: str
    read_only: bool
    cdrom: bool = False
    raw: bool = True


@dataclass(slots=True)
class GuestInterface:
    bridge: str
    mac: str = ""


@dataclass(slots=True)
class Guest:
    """`firmware` and `loader` are as a fleet file writes them. `notes`: what the definition says
    that is not in here, a sentence each, once."""

    name: str = ""
    memory_bytes: int = 0
    vcpus: int = 1
    kernel: str = ""
    initrd: str = ""
    cmdline: str = ""
    firmware: str = ""
    loader: str = ""
    disks: list[GuestDisk] = field(default_factory=list)
    interfaces: list[GuestInterface] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)

    def note(self, what: str, why: str) -> None:
        """Both are shown as they are: what comes from the definition is quoted by `shown` first."""
        self.notes[f"{what}: {why}"] = None


def number_in(text: str, what: str) -> int:
    """A whole number of a definition. Raises BadDefinition."""
    digits = text.strip()
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= 15):
        raise BadDefinition(f"{what} must be a whole number; got {shown(text)}")
    return int(digits)
