"""Where this host is reached, as controllers are told."""

from __future__ import annotations

import asyncio

from fleet.endpoints import is_every_address
from fleet_agent.controllers.announcer import ControllerUnreachable
from fleet_agent.daemon import host_identity
from fleet_agent.daemon.settings import Settings

# A resolver that does not answer: the next endpoint is tried.
LOOK_UP_SECONDS = 10.0


async def advertised(asked: Settings, port: int, endpoint: str) -> str:
    """What is set, or the address of `listen`, unless that is every address: then the one towards
    the endpoint, as of now. Raises ControllerUnreachable."""
    if asked.advertise:
        return asked.advertise
    listen = asked.listen.rpartition(":")[0]
    if is_every_address(asked.listen):
        listen = await _address_towards(endpoint)
        listen = f"[{listen}]" if ":" in listen else listen
    return f"{listen}:{port}"


async def _address_towards(endpoint: str) -> str:
    try:
        async with asyncio.timeout(LOOK_UP_SECONDS):
            return await asyncio.to_thread(host_identity.address_towards, endpoint)
    except host_identity.HostError as error:
        raise ControllerUnreachable(str(error)) from error
    except TimeoutError as error:
        message = f"the name of {endpoint} was not resolved within {LOOK_UP_SECONDS:.0f} s"
        raise ControllerUnreachable(message) from error
