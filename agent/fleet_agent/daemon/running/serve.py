"""Serves from the moment that it is known what the host bears until the process is told to stop."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import sdnotify
import structlog

from fleet.serving.watchdog import beat, loop_goes_on, watchdog_seconds
from fleet_agent.daemon.server import AgentServer, SharedServices
from fleet_agent.reconcile.agent import Agent

log = structlog.get_logger()

# Calls in flight get so long to end when the agent stops.
STOP_SECONDS = 2.0


async def serve(
    agent: Agent,
    look_first: Callable[[], Coroutine[Any, Any, None]],
    server: AgentServer,
    services: SharedServices,
    beside: Iterable[Callable[[], Coroutine[Any, Any, None]]],
) -> None:
    """Until SIGTERM or SIGINT. `beside` is run once it is known what the host bears and has."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _note_hang_up)
    systemd = sdnotify.SystemdNotifier()
    waits = watchdog_seconds(os.environ, os.getpid())
    async with asyncio.TaskGroup() as group:
        # Every call of a driver has its deadline on this loop: rounds go on for as long as it does.
        tasks = [
            group.create_task(agent.run()),
            group.create_task(beat(waits, systemd.notify, loop_goes_on)),
        ]
        # What runs is looked at meanwhile, but nothing is announced: nobody is to place what this
        # host would not bear, or cannot make.
        await look_first()
        tasks += [group.create_task(job()) for job in beside]
        await server.start()
        await services.serving()
        systemd.notify("READY=1")
        log.info("serving", host=agent.host_id, incarnation=agent.facts.incarnation)
        await stopping.wait()
        systemd.notify("STOPPING=1")
        log.info("stopping; VMs keep running", host=agent.host_id)
        await services.stopping()
        await server.stop(STOP_SECONDS)
        for task in tasks:
            task.cancel()


def _note_hang_up() -> None:
    log.info("SIGHUP changes nothing: settings are read at start, certificates when they change")
