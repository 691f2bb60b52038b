"""What takes room on a simulated host, and what stands in the way of a VM there, is what an agent
lists: a domain that lost its clone as well."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from fleet.identity import Fleet
from fleet.keys import Epoch, Kin, Term
from fleet.ranges import IndexSet
from fleet_agent.core.model import Batch, Mark
from fleet_agent.core.plan.snapshot import snapshot_of
from tests.simulation.doubles.cluster import Shape
from tests.simulation.engine import clockwork
from tests.simulation.scenario import Scenario
from tests.simulation.world import SPEC, World

FLEET = Fleet("00000000-0000-0001-0001-000000000001", "spv", 0)


def of_birth(birth: int, start: int, stop: int) -> Batch:
    kin, mark = Kin(FLEET.uid, 1, birth), Mark(Term(1, 1), Epoch(1, 1))
    return Batch(FLEET, kin, SPEC, mark, IndexSet.span(start, stop))


async def a_host_with_halves() -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, clockwork.Clockwork)
    world = World(loop, "halves", Shape(hosts=1))
    machine = world.machines["h001"]
    cloned, defined = of_birth(7, 0, 3), of_birth(7, 2, 6)
    async for _ in machine.storage.clone(cloned):
        pass
    async for _ in machine.hypervisor.define(defined, machine.storage.disk):
        pass
    listed = snapshot_of(await machine.storage.listing(), await machine.hypervisor.listing())
    assert machine.all_that_exists() == machine.named("spv") == listed.exists
    assert world.in_the_end.strays("h001") == 6


def test_a_domain_without_its_clone_takes_the_room_of_one_vm() -> None:
    clockwork.run(a_host_with_halves)


# Of these actions a recovery makes orphans of nearly everything, and a driver that lies a domain
# without a clone among them: every host is full.
KEPT = (
    63, 69, 89, 97, 99, 109, 115, 117, 127, 134, 149, 161, 170, 183, 192, 201, 206, 209, 229, 237,
    239, 240, 248, 265, 278, 282,
)  # fmt: skip


def test_no_room_is_found_on_hosts_that_run_as_many_as_they_admit() -> None:
    shape = Shape(hosts=50, per_host=20, minutes=10.0, hosts_per_rack=10)
    whole = Scenario.of("110606285", shape)
    assert not replace(whole, acts=tuple(whole.acts[number] for number in KEPT)).play().failure
