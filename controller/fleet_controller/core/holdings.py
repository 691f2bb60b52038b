"""What a host says that it has of what fleets ask for, compared with what VMs of a template need.

A host that says nothing of a kind is believed to have all of it, as every host of an older agent.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from fleet.template.host_needs import HostNeeds, NeededImage, lacks_file

QEMU_FOR_CLONES = "QEMU, which 'start: clone' needs"


class HeldImage(NamedTuple):
    """`digest` is empty where none was recorded."""

    name: str
    snapshot: str
    digest: str = ""


class HostHoldings(msgspec.Struct, frozen=True, omit_defaults=True, weakref=True):
    """None: the host says nothing of it. `more_...`: it has others too, that it does not name.
    Of `kernel_folders` all files are known."""

    images: tuple[HeldImage, ...] | None = None
    more_images: bool = False
    kernel_folders: tuple[str, ...] = ()
    kernel_files: tuple[str, ...] = ()
    bridges: tuple[str, ...] | None = None
    more_bridges: bool = False
    # Whether it fetches images from other hosts, and gives those it has to them.
    fetches_images: bool = False
    gives_images: bool = False
    clones: bool | None = None  # whether VMs may be copies of one that has booted

    def lacks_image(self, needed: NeededImage | None) -> bool:
        """An image whose digest nobody has recorded has none that could be asked for."""
        if self.images is None or self.more_images or needed is None:
            return False
        return not any(
            (one.name, one.snapshot) == (needed.name, needed.snapshot)
            and (not needed.digest or one.digest == needed.digest)
            for one in self.images
        )

    def missing_files(self, files: Iterable[str]) -> list[str]:
        folders, known = frozenset(self.kernel_folders), frozenset(self.kernel_files)
        return [path for path in files if lacks_file(path, folders, known)]

    def missing_bridges(self, bridges: Iterable[str]) -> list[str]:
        if self.bridges is None or self.more_bridges:
            return []
        return [bridge for bridge in bridges if bridge not in self.bridges]

    def lacks(self, needs: HostNeeds) -> list[str]:
        """All that is not there, as people read it."""
        image = [str(needs.image)] if self.lacks_image(needs.image) else []
        bridges = [f"the bridge {one}" for one in self.missing_bridges(needs.bridges)]
        clones = [QEMU_FOR_CLONES] if self.lacks_clones(needs) else []
        return [*image, *self.missing_files(needs.files), *bridges, *clones]

    def lacks_clones(self, needs: HostNeeds) -> bool:
        return needs.clones and self.clones is False


UNTOLD = HostHoldings()
