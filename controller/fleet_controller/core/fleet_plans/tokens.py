"""What names a plan: equal for equal fleets and equal wishes, another one as soon as either is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from fleet.v1 import types_pb2 as types
from fleet_controller.core.model import FleetRecord
from fleet_controller.core.refusals import Reason, Refused


def fleet_token(
    name: str,
    fleet: FleetRecord | None,
    spec: types.FleetSpec | None,
    wanted: types.FleetSpec | None,
) -> str:
    """`spec`: what there is; `wanted`: None to delete it. How many VMs run is no part of it."""
    there = (fleet.uid, fleet.total, fleet.generation, fleet.deleting) if fleet else ()
    return _digest((name, there, _bytes(spec), _bytes(wanted)))


def plan_token(tokens: Iterable[str]) -> str:
    """Of all parts together."""
    return _digest(tuple(tokens))


def check_token(given: str, token: str) -> None:
    """Nothing is checked where none is given. Raises Refused."""
    if given and given != token:
        raise Refused(
            Reason.STALE_PLAN,
            "the cluster has changed since that plan was made; look at a new one",
        )


def _bytes(spec: types.FleetSpec | None) -> bytes | None:
    return None if spec is None else spec.SerializeToString(deterministic=True)


def _digest(value: object) -> str:
    return hashlib.blake2b(repr(value).encode(), digest_size=9).hexdigest()
