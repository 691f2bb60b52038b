"""The port to other hosts' agents: chunks of an image, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

from fleet.v1 import agent_pb2 as wire


class PeerError(Exception):
    """The other host does not give what was asked for; one sentence. Another may."""


class Peers(Protocol):
    def chunks(
        self, host: str, address: str, request: wire.SendImageRequest
    ) -> AsyncGenerator[wire.ImageChunk]:
        """What the host sends, to its end; to be left through contextlib.aclosing alone. A message
        without chunk or manifest says that more will come. Raises PeerError."""
