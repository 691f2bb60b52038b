"""What a host must have for VMs of a template: its golden image, files and bridges. Controllers
place by it, and agents tell by it what VMs of theirs miss."""

from __future__ import annotations

import posixpath
from typing import NamedTuple

from fleet.template.bridges import networks_of
from fleet.v1 import types_pb2 as types


class NeededImage(NamedTuple):
    """`digest` is empty where any content will do."""

    name: str
    snapshot: str
    digest: str

    def __str__(self) -> str:
        named = f"{self.name}@{self.snapshot}"
        return f"{named} with the digest {self.digest[:19]}..." if self.digest else named


class HostNeeds(NamedTuple):
    """`image`: None where the template names none."""

    image: NeededImage | None
    files: tuple[str, ...]
    bridges: tuple[str, ...]
    clones: bool = False  # QEMU, for copies of a template


def needs_of(spec: types.FleetSpec) -> HostNeeds:
    """Bridges that the agent makes are not among them."""
    image, boot = spec.image, spec.boot
    needed = NeededImage(image.name, image.snapshot, image.digest) if image.name else None
    files = tuple(posixpath.normpath(path) for path in (boot.kernel, boot.initrd) if path)
    networks = list(networks_of(spec))
    made = {one.bridge for one in networks if one.create}
    bridges = dict.fromkeys(one.bridge for one in networks if one.bridge not in made)
    return HostNeeds(needed, files, tuple(bridges), spec.start == types.START_CLONE)


def lacks_file(path: str, folders: frozenset[str], files: frozenset[str]) -> bool:
    """Whether a file is known not to be there. `folders`: those of which all files are known."""
    return posixpath.dirname(path) in folders and path not in files
