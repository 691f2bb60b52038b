"""VMs that wait for their image to come from another host, rather than fail for want of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from fleet.keys import Kin
from fleet.v1 import types_pb2 as types
from fleet_agent.core.assignment import Assignment
from fleet_agent.core.images import ImageName

# The leader looks every few seconds what hosts lack; an image that has not begun to come by then is
# not coming for now. Until then a VM waits.
GRACE_SECONDS = 20.0


@dataclass(slots=True)
class AwaitedImages:
    """`held`: what is here, as it is told; None: not told. `coming`: images on their way here.
    `since`: when each that is lacked was first seen to be."""

    held: types.ImagesHeld | None = None
    coming: frozenset[ImageName] = frozenset()
    since: dict[ImageName, float] = field(default_factory=dict)

    def kins(self, assignment: Assignment, now: float) -> tuple[frozenset[Kin], float | None]:
        """Those that are to wait, and the seconds until that may be otherwise by itself."""
        lacked: dict[ImageName, list[Kin]] = {}
        for kin in {shard.kin for shard in assignment.shards}:
            image = assignment.specs[kin.fleet_uid, kin.generation].image
            if image.name and not image.local_only and self._lacks(image):
                lacked.setdefault(ImageName(image.name, image.snapshot), []).append(kin)
        self.since = {name: self.since.get(name, now) for name in lacked}
        waits: list[float] = []
        kins: list[Kin] = []
        for name, waiting in lacked.items():
            left = self.since[name] + GRACE_SECONDS - now
            if name in self.coming or left > 0:
                kins += waiting
            if name not in self.coming and left > 0:
                waits.append(left)
        return frozenset(kins), min(waits, default=None)

    def _lacks(self, image: types.Image) -> bool:
        if self.held is None or self.held.more:
            return False
        return not any(_is(image, one) for one in self.held.images)


def _is(wanted: types.Image, one: types.Image) -> bool:
    return (wanted.name, wanted.snapshot) == (one.name, one.snapshot)
