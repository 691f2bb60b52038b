"""Images on their way from host to host, on the wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial

from fleet.peers import peer_of
from fleet.service import Context
from fleet.serving.gate import KIB
from fleet.transport import Role
from fleet.v1 import agent_pb2 as wire
from fleet_agent.core.images import image_name
from fleet_agent.drivers.ports.errors import first_error
from fleet_agent.image_relay.messages import image_message
from fleet_agent.image_relay.relay import Relay
from fleet_agent.image_relay.relays import ImageRelays
from fleet_agent.reconcile.fencing import WrongHost

# A chunk, or the manifest of a disk of 32 GiB with a kernel and an initrd.
MAX_PUT_BYTES = 1152 * KIB
# Between two words on how far a fetch is, unless the leader says otherwise; seconds.
REPORT_SECONDS = 1.0
_Phase = wire.RelayState.Phase


def check_host(meant: str, own: str) -> None:
    """Raises WrongHost."""
    if meant != own:
        raise WrongHost(f"this is {own}, and the call is meant for {meant[:80]!r}")


async def send(relays: ImageRelays, request: wire.SendImageRequest, context: Context) -> None:
    """Chunks for a host; for a controller what an image is made of. Raises BadImage, NotAReader,
    ImageError, DriverError."""
    peer = peer_of(context.auth_context())
    if peer.role is Role.CONTROLLER:
        manifest = await relays.manifest(image_name(request.image))
        message = manifest.message(request.image, chunks=False)
        await context.write(wire.ImageChunk(manifest=message))
        return
    relay = await relays.granted(peer.name, request.root)
    async with aclosing(relay.give(peer.name, request)) as giving:
        async for chunk in giving:
            await context.write(chunk)


async def relay(
    relays: ImageRelays,
    first: wire.RelayOrder,
    rest: AsyncIterator[wire.RelayOrder],
    context: Context,
) -> None:
    """Until the caller has gone. Raises BadImage, ImageError, DriverError."""
    async with relays.opened(first) as one:
        tasks = [
            asyncio.ensure_future(_obey(one, rest)),
            asyncio.ensure_future(_fetch(one)),
            asyncio.ensure_future(_tell(one, first, context)),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled() and (error := task.exception()) is not None:
                raise first_error(error)


async def _obey(one: Relay, rest: AsyncIterator[wire.RelayOrder]) -> None:
    async for order in rest:
        one.obey(order)


async def _fetch(one: Relay) -> None:
    await one.run()
    await asyncio.Event().wait()


async def _tell(one: Relay, first: wire.RelayOrder, context: Context) -> None:
    seconds = first.report_every_ms / 1000 or REPORT_SECONDS
    while True:
        phase = _phase(one)
        await context.write(_state(one, phase))
        await one.beat.until(partial(_has_news, one, phase), seconds)


def _has_news(one: Relay, told: _Phase.ValueType) -> bool:
    return one.has_news or _phase(one) != told


def _phase(one: Relay) -> _Phase.ValueType:
    if one.held is not None:
        return _Phase.PHASE_HELD
    return _Phase.PHASE_KEEPING if one.keeping else _Phase.PHASE_FETCHING


def _state(one: Relay, phase: _Phase.ValueType) -> wire.RelayState:
    manifest = one.manifest
    return wire.RelayState(
        phase=phase,
        done_bytes=one.done,
        total_bytes=manifest.sent if manifest else 0,
        fetched_bytes=one.fetched,
        troubles=[trouble.message() for trouble in one.troubles()],
        image=image_message(one.held) if one.held else None,
    )


async def put(
    relays: ImageRelays,
    first: wire.PutImageRequest,
    rest: AsyncIterator[wire.PutImageRequest],
    context: Context,
) -> None:
    """Raises BadImage, ImageError, DriverError."""
    async with aclosing(relays.put(first, rest)) as putting:
        async for answer in putting:
            await context.write(answer)
