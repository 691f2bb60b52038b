"""Golden images and clones, made out in one listing of volumes and snapshots. Pure.

An image is a snapshot of a volume right below the parent that is no clone itself and bears no
VM's mark. Bytes are as ZFS accounts for them: what an image's clones share with it is counted
with the image, once, and a clone's own is what was written to it. An image that is its volume's
only snapshot takes what the whole volume takes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fleet_agent.core.domain.marks import Marked, read_mark
from fleet_agent.core.images import ImageName, parsed_name
from fleet_agent.drivers.ports.images import FleetUse, Image, Space
from fleet_agent.drivers.zfs.image_calls import ImageEntry

# What an import makes before it is whole; no image's name begins so, nor a VM's.
STAGED = "_import-"


@dataclass(slots=True)
class Volume:
    """A volume right below the parent, with its snapshots by name."""

    name: str
    entry: ImageEntry
    snapshots: dict[str, ImageEntry] = field(default_factory=dict)

    @property
    def is_golden(self) -> bool:
        """Whether it may hold images: it is nobody's disk."""
        return not self.entry.origin and self.marked is None

    @property
    def marked(self) -> Marked | None:
        """The mark of its own; a child inherits user properties, and the index tells."""
        marked = read_mark(self.entry.marks)
        return marked if marked and self.name.endswith(f"-{marked.index}") else None

    @property
    def latest(self) -> ImageEntry | None:
        return max(self.snapshots.values(), key=lambda one: one.created, default=None)


Volumes = Mapping[str, Volume]


def volumes_of(entries: Iterable[ImageEntry], parent: str) -> Volumes:
    """Volumes by their last component."""
    volumes: dict[str, Volume] = {}
    snapshots = []
    for entry in entries:
        if "@" in entry.name:
            snapshots.append(entry)
        else:
            name = entry.name.removeprefix(f"{parent}/")
            volumes[name] = Volume(name, entry)
    for entry in snapshots:
        name, _, snapshot = entry.name.removeprefix(f"{parent}/").partition("@")
        if name in volumes:
            volumes[name].snapshots[snapshot] = entry
    return volumes


def images_of(volumes: Volumes) -> tuple[Image, ...]:
    """Sorted by name and snapshot."""
    return tuple(
        _image(image, volume, entry)
        for name, volume in sorted(volumes.items())
        if volume.is_golden and not name.startswith(STAGED)
        for snapshot, entry in sorted(volume.snapshots.items())
        if (image := parsed_name(f"{name}@{snapshot}"))
    )


def _image(image: ImageName, volume: Volume, entry: ImageEntry) -> Image:
    unique = volume.entry.used if len(volume.snapshots) == 1 else entry.used
    space = Space(entry.referenced, unique)
    size = entry.size or volume.entry.size
    return Image(image, entry.digest, size, space, entry.clones, entry.creation, entry.source)


def fleets_of(volumes: Volumes) -> tuple[FleetUse, ...]:
    """What the clones of each fleet take, by uid."""
    clones: dict[str, list[ImageEntry]] = defaultdict(list)
    for volume in volumes.values():
        if volume.marked is not None:
            clones[volume.marked.kin.fleet_uid].append(volume.entry)
    return tuple(
        FleetUse(
            uid,
            len(clones[uid]),
            Space(sum(one.referenced for one in clones[uid]), sum(one.used for one in clones[uid])),
        )
        for uid in sorted(clones)
    )
