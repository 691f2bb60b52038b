"""The parsers that read what hosts say of images: what they are made of, and how far they are."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from fleet.image_content.manifest import CHUNK, BadManifest, Manifest, Part, manifest_of, size_of
from fleet.image_content.packing import BadPacking, packed, unpacked
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet_controller.image_spread import part as parts
from fleet_controller.image_spread.progress import progress
from tests.fuzz.foreign_messages import parses

_IMAGE = types.Image(name="golden", snapshot="1", digest=f"sha256:{'a' * 64}")
_PARTS = (Part("disk", CHUNK + 1, bytes(64)), Part("kernel", 9, b"k" * 32))
MANIFEST = Manifest(_PARTS).message(_IMAGE).SerializeToString()
STATE = wire.RelayState(
    phase=wire.RelayState.PHASE_FETCHING, done_bytes=3, total_bytes=5, fetched_bytes=3,
    troubles=[wire.RelayTrouble(host="h2", why="gone", lied=True, stripe=1, attempt=2)],
).SerializeToString()  # fmt: skip
CHUNKS = (b"z" + packed(b"text " * 1000).data, b"-" + b"as it is")


def manifest(data: bytes) -> None:
    message = wire.ImageManifest()
    if not parses(data, message):
        return
    try:
        size_of(message)
        made = manifest_of(message)
        assert made.sent <= sum(part.size for part in made.parts)
    except BadManifest as error:
        str(error)


def state(data: bytes) -> None:
    """As the leader takes it from two hosts, and sums it up for whoever asks."""
    message = wire.RelayState()
    if not parses(data, message):
        return
    both = {host: parts.Part(host, 100) for host in ("h1", "h3")}
    for part in both.values():
        part.tell(wire.RelayOrder(sources=[wire.RelaySource(host="h2")]))
        part.hear(message, 1.0)
        part.shunned(2.0)
    spread: Any = SimpleNamespace(
        suspects=[], parts=both, began=0.0, content=SimpleNamespace(size=100), has=lambda _: False
    )
    told = progress(spread, both, 2.0)
    assert told.done_bytes <= told.total_bytes <= 200


def chunk(data: bytes) -> None:
    try:
        assert len(unpacked(data[1:], compressed=data[:1] == b"z")) <= CHUNK
    except BadPacking as error:
        str(error)
