"""What images are made of, as hosts that have them say.

If that is a lie, whatever is fetched does not get the digest. Whoever is long in answering, or has
lied before, keeps nobody from asking others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from fleet.image_content.manifest import DIGEST_BYTES, BadManifest, size_of
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet_controller.agents.port import NoAnswer
from fleet_controller.core.image_spread.holders import Holders
from fleet_controller.core.refusals import Reason, Refused
from fleet_controller.image_spread.spread import Content
from fleet_controller.relay.relay import NOT_ANSWERED, Relay

# Reading an image's content once takes so long at worst: a TiB from a slow disk is not handed on.
MANIFEST_SECONDS = 600.0
# Until another host is asked beside those that were; and how many, before that is given up for now.
BESIDE_SECONDS = 20.0
ASKED = 16
# Images of which is remembered who is asked last.
_DOUBTS = 256


class Key(NamedTuple):
    name: str
    snapshot: str
    digest: str


class Descriptions:
    """Of one leadership."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._doubted: dict[Key, frozenset[str]] = {}

    def doubt(self, key: Key, host: str) -> None:
        """From now on it is asked after others."""
        self._doubted[key] = self._doubted.pop(key, frozenset()) | {host}
        for old in list(self._doubted)[:-_DOUBTS]:
            del self._doubted[old]

    async def content(self, key: Key, found: Holders) -> Content:
        """Raises Refused, Refusal, LeadershipLost."""
        doubted = self._doubted.get(key, frozenset())
        hosts = sorted(found.hosts, key=lambda host: host in doubted)[:ASKED]
        asked: dict[asyncio.Task[Content], str] = {}
        try:
            return await self._first(key, hosts, asked, Refused(Reason.BAD_QUERY, found.why))
        finally:
            for task, host in asked.items():  # whoever was asked before the one that answered
                task.cancel()
                self.doubt(key, host)
            if asked:
                await asyncio.wait(asked)

    async def _first(
        self,
        key: Key,
        hosts: Sequence[str],
        asked: dict[asyncio.Task[Content], str],
        error: Exception,
    ) -> Content:
        image = types.Image(name=key.name, snapshot=key.snapshot, digest=key.digest)
        for number, host in enumerate(hosts):
            asked[asyncio.create_task(self._of(host, image))] = host
            patience = BESIDE_SECONDS if number < len(hosts) - 1 else None
            while asked:
                done, _ = await asyncio.wait(
                    asked, timeout=patience, return_when=asyncio.FIRST_COMPLETED
                )
                if not done:
                    break
                for task in done:
                    asked_host = asked.pop(task)
                    try:
                        return task.result()
                    except NOT_ANSWERED as refused:
                        error = refused
                        self.doubt(key, asked_host)
                if patience is not None:
                    break  # the next one at once
        raise error

    async def _of(self, host: str, image: types.Image) -> Content:
        """Raises Refused, Refusal, LeadershipLost."""
        with self._relay.answering(host, "handing images on"):
            request = wire.SendImageRequest(image=image, manifest_only=True)
            answers = self._relay.questions(host).send_image(request)
            try:
                async with asyncio.timeout(MANIFEST_SECONDS):
                    chunk = await answers.read()
            except TimeoutError as error:
                raise NoAnswer(f"silent for {MANIFEST_SECONDS:g} s") from error
            finally:
                answers.cancel()
        named = f"{image.name}@{image.snapshot}"
        if chunk is None or len(chunk.manifest.root) != DIGEST_BYTES:
            message = f"host {host} does not say what {named} is made of"
            raise Refused(Reason.HOST_UNREACHABLE, message)
        try:
            size = size_of(chunk.manifest)
        except BadManifest as error:
            message = f"host {host} says of {named} what cannot be: {error}"
            raise Refused(Reason.HOST_UNREACHABLE, message) from error
        return Content(image, chunk.manifest.root, size, host)
