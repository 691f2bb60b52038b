"""Images as they are told on the wire."""

from __future__ import annotations

from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet_agent.drivers.ports.images import Image, Space


def image_message(one: Image) -> wire.ImageOnHost:
    return wire.ImageOnHost(
        image=types.Image(name=one.image.name, snapshot=one.image.snapshot, digest=one.digest),
        size_bytes=one.size,
        space=space_message(one.space),
        clones=one.clones,
        created_unix=one.created,
        source=one.source,
    )


def space_message(space: Space) -> wire.Space:
    return wire.Space(referenced_bytes=space.referenced, unique_bytes=space.unique)
