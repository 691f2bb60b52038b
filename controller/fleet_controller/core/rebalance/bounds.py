"""What a fleet's placement allows on a host: by it VMs that are there already are judged.

Bounds are the selector and `per_host`. What placement asks besides of hosts that get further VMs,
such as an image, or that nobody has cordoned them, says nothing against VMs that run there.
"""

from __future__ import annotations

from collections.abc import Mapping

from fleet.v1 import types_pb2 as types

NO_BOUND = 2**31


class Bounds:
    """Of one fleet."""

    def __init__(self, placement: types.Placement) -> None:
        self._selector = dict(placement.selector).items()
        self._per_host = placement.per_host or NO_BOUND

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._selector) or self._per_host < NO_BOUND

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Whether the fleet may have VMs on a host with these labels at all."""
        return self._selector <= labels.items()

    def allowed(self, labels: Mapping[str, str]) -> int:
        """How many VMs of the fleet may be on a host with these labels."""
        return self._per_host if self.selects(labels) else 0
