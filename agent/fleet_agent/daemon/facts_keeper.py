"""Keeps the facts of this dom0 true: what its drivers say of themselves, and its limits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import structlog

from fleet.transport import Identity
from fleet.v1 import types_pb2 as types
from fleet_agent.alarm import Alarm
from fleet_agent.controllers.announcer import Announcer
from fleet_agent.core.holdings import with_holdings
from fleet_agent.daemon import host_identity
from fleet_agent.daemon.open_drivers import Drivers
from fleet_agent.daemon.settings import Settings, upgrade_command
from fleet_agent.dom0.doctor import Doctor
from fleet_agent.drivers.ports.errors import DriverError, as_driver_errors
from fleet_agent.reconcile.agent import Agent

log = structlog.get_logger()

# Between two looks at what the drivers say of themselves, and when they do not.
FACTS_SECONDS = 300.0
FACTS_RETRY_SECONDS = 5.0
FACTS_DEADLINE = 30.0
# On a busy dom0 `xl info` alone takes seconds.
LIMITS_DEADLINE = 30.0


class FactsKeeper:
    """Gives the facts to the agent, and has them announced when they have changed."""

    def __init__(
        self,
        asked: Settings,
        drivers: Drivers,
        doctor: Doctor,
        agent: Agent,
        announcer: Announcer,
        tuned: Alarm,
        certificates: Callable[[], Identity] | None = None,
    ) -> None:
        """`tuned` rings when the limits of the dom0 may have changed. `certificates`: what is shown
        by now."""
        self._certificates = certificates
        self._asked = asked
        self._drivers = drivers
        self._doctor = doctor
        self._agent = agent
        self._announcer = announcer
        self._tuned = tuned

    async def bind_by_limits(self) -> None:
        """Bound the capacity once, before any driver has answered."""
        facts = self._agent.facts
        self._agent.set_facts(await bound_by_limits(facts, self._doctor, facts))

    async def run(self) -> None:
        """Ask the drivers until they answer, and again from time to time and when the dom0 was
        tuned, until cancelled. What runs is looked at before: asking for both at once made neither
        sooner."""
        await self._agent.first_round_over.wait()
        while True:
            try:
                async with asyncio.timeout(FACTS_DEADLINE):
                    facts = await facts_of(self._asked, self._drivers)
            except (DriverError, TimeoutError) as error:
                log.warning("a driver says nothing of itself", error=str(error))
                await asyncio.sleep(FACTS_RETRY_SECONDS)
                continue
            self._set(await bound_by_limits(facts, self._doctor, self._agent.facts))
            await self._tuned.sleep(FACTS_SECONDS)

    def _set(self, facts: types.HostFacts) -> None:
        before = self._agent.facts
        facts.incarnation = before.incarnation
        # That which is shown, whatever lies in the folder by now.
        facts.certificate_expires_unix = before.certificate_expires_unix
        if self._certificates:
            host_identity.state_certificates(facts, self._certificates())
        facts = with_holdings(facts, before)
        if facts != before:
            _log_capacity(before.capacity, facts.capacity)
            if facts.storage != before.storage:
                log.info("clones are made", storage=facts.storage)
            self._agent.set_facts(facts)
            self._announcer.announce_anew()


def facts_at_start(
    asked: Settings, found: Mapping[str, str], certificate: bytes = b"", *, clones: bool = False
) -> types.HostFacts:
    """What is known before any driver has answered: the agent starts without them. All labels are:
    placement would pass over a host that lost one for a moment. `found`: those of its drivers."""
    return types.HostFacts(
        machine_id=host_identity.machine_id(),
        boot_id=host_identity.boot_id(),
        labels={**found, **asked.labels},
        capacity=types.Capacity(guests=asked.guests),
        clones=types.ClonesHeld(possible=clones),
        agent_version=host_identity.VERSION,
        upgrades=bool(upgrade_command(asked)),
        certificate_expires_unix=host_identity.expires_unix(certificate) if certificate else 0,
    )


async def facts_of(asked: Settings, drivers: Drivers) -> types.HostFacts:
    """Raises DriverError."""
    facts = facts_at_start(asked, drivers.labels, clones=drivers.clones is not None)
    with as_driver_errors("facts"):
        hypervisor = await drivers.hypervisor.facts()
        storage = await drivers.storage.facts()
    facts.hypervisor = hypervisor.description
    facts.capacity.memory_bytes = hypervisor.memory_bytes
    if hypervisor.max_guests < asked.guests:
        facts.capacity.guests = hypervisor.max_guests
        facts.capacity.binding_limit = "the hypervisor's own limit of guests"
    facts.storage = storage.description
    if drivers.clones is not None:
        with as_driver_errors("facts"):
            facts.clones.most = await drivers.clones(hypervisor.memory_bytes)
    return facts


async def bound_by_limits(
    facts: types.HostFacts, doctor: Doctor, before: types.HostFacts
) -> types.HostFacts:
    """The facts, with no more guests than the dom0's limits admit. Where VMs may be copies of a
    template, these bound the guests, and those that boot have a bound of their own: a host without
    VMs knows not of which kind they will be. A host that is too busy to read its limits keeps the
    bounds it had `before`."""
    bound = types.HostFacts()
    bound.CopyFrom(facts)
    capacity, known, cloned = bound.capacity, before.capacity, facts.clones.possible
    try:
        async with asyncio.timeout(LIMITS_DEADLINE):
            examined = await doctor.examine(capacity.guests, logs=False, clones=cloned)
            if cloned:
                boots = await doctor.examine(capacity.guests, logs=False, clones=False)
                if boots.binding is not None:
                    capacity.boots = max(1, boots.admits)
    except TimeoutError:
        log.warning("the limits of this dom0 were not told in time")
        capacity.boots = known.boots
        if known.guests < capacity.guests:
            capacity.guests, capacity.binding_limit = known.guests, known.binding_limit
        return bound
    if examined.binding is not None:
        capacity.guests = examined.admits
        capacity.binding_limit = examined.binding.limit.title
    return bound


def _log_capacity(before: types.Capacity, now: types.Capacity) -> None:
    if (before.guests, before.binding_limit) != (now.guests, now.binding_limit):
        limit = now.binding_limit or "the setting"
        log.info("capacity", guests=now.guests, limit=limit)
