"""Images that hosts lack for VMs of theirs, and how far they are with fetching them."""

from __future__ import annotations

from collections.abc import Mapping

from fleet.v1 import cluster_pb2 as cluster

Named = tuple[str, str]
"""Name and snapshot."""


class ImageFetches:
    """As the leader last looked at it."""

    def __init__(self) -> None:
        self._fetches: dict[Named, cluster.ImageFetches] = {}
        self._troubles: dict[Named, str] = {}

    def replace(self, fetches: Mapping[Named, cluster.ImageFetches]) -> None:
        self._troubles = {name: why for name, why in self._troubles.items() if name in fetches}
        self._fetches = dict(fetches)

    def note(self, image: Named, why: str) -> None:
        """Why it could not be begun; until it is."""
        self._troubles[image] = why[:400]

    def of(self, image: Named) -> cluster.ImageFetches | None:
        """None where no host lacks it."""
        found = self._fetches.get(image)
        if found is None:
            return None
        told = cluster.ImageFetches()
        told.CopyFrom(found)
        if not told.trouble and not told.total_bytes:
            told.trouble = self._troubles.get(image, "")
        return told
