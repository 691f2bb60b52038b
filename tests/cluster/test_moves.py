"""Drains, removals, power and rollouts by the real leader, in virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random

import pytest

from fleet.ranges import EMPTY, IndexSet, parse_ranges
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet_controller import answers, host_answers
from fleet_controller.agents import Declined
from fleet_controller.core.audit import BY_LEADER
from fleet_controller.core.changes import Refused
from fleet_controller.core.control import Action
from fleet_controller.core.model import Health
from fleet_controller.core.rollout_orders import Wish
from fleet_controller.observed import wire_ranges
from fleet_controller.replica import Leading
from fleet_controller.store.memory import MemoryStore
from fleet_controller.store.port import StoreError
from fleet_controller.upkeep import Chosen
from tests.faulty_store import Fault, FaultyStore
from tests.leading import leading, until
from tests.obedient_agents import Network, ObedientAgent, World
from tests.virtual_loop import run_virtual

ME = "operator/me"
HOSTS = 6
PER_HOST = 8
SPEC = types.FleetSpec(memory_bytes=4 << 20, vcpus=1, on_loss=types.ON_LOSS_WAIT)
REPLACED = types.FleetSpec(memory_bytes=4 << 20, vcpus=1, on_loss=types.ON_LOSS_REPLACE)


@dataclass
class Stage:
    """What outlives a leader."""

    network: Network = field(default_factory=Network)
    world: World = field(default_factory=World)

    def __post_init__(self) -> None:
        self.store = FaultyStore(MemoryStore(asyncio.get_running_loop().time))

    def agent(self, host: str) -> ObedientAgent:
        agent = self.network.agents[f"{host}:1"]
        assert isinstance(agent, ObedientAgent)
        return agent


Scene = Callable[[Leading, Stage], Awaitable[None]]


def play(*scenes: Scene, total: int = 24, spec: types.FleetSpec = SPEC) -> None:
    """Six hosts in three racks run a fleet; each scene is under a leader of its own."""

    async def whole() -> None:
        stage = Stage()
        async with asyncio.TaskGroup() as group:
            beating = group.create_task(_beat(stage.network))
            for number, scene in enumerate(scenes):
                async with leading(stage.store, stage.network) as leader:
                    lost = leader.reign.state.lost
                    stage.world.is_lost = lost.__contains__
                    if not number:
                        await _begin(leader, stage, total, spec)
                    await scene(leader, stage)
            beating.cancel()

    run_virtual(whole())


async def _begin(leader: Leading, stage: Stage, total: int, spec: types.FleetSpec) -> None:
    for number in range(HOSTS):
        name = f"h{number}"
        stage.network.agents[f"{name}:1"] = ObedientAgent(name, stage.world, Random(number))
        facts = types.HostFacts(
            incarnation="i",
            labels={"rack": f"r{number % 3}"},
            capacity=types.Capacity(guests=PER_HOST),
        )
        await leader.announcements.announce(name, f"{name}:1", facts)
    await until(lambda: leader.reign.links.by_health[Health.LIVE] == HOSTS)
    await leader.operations.apply("spv", spec, ME)
    await leader.operations.scale("spv", total, ME)
    await until(lambda: converged(leader))


async def _beat(network: Network) -> None:
    while True:
        await asyncio.sleep(4.0)
        for agent in list(network.agents.values()):
            assert isinstance(agent, ObedientAgent)
            agent.beat()


def converged(leader: Leading) -> bool:
    fleet = leader.reign.state.fleets["spv"]
    return answers.fleet_status(leader.reign, fleet).converged


def left(leader: Leading, host: str) -> int:
    return leader.upkeep.drained(host).left


def kinds(leader: Leading) -> Counter[str]:
    events, _ = leader.reign.events.after(0, 10_000, "", "")
    return Counter(event.kind for event in events)


def told(leader: Leading, **of: str) -> list[tuple[str, str, str]]:
    """What was changed and by whom, the oldest first: (action, actor, after)."""
    records, _ = leader.reign.audit.page(of.get("fleet", ""), of.get("host", ""), 0, 1000)
    return [(one.action, one.actor, one.after) for one in reversed(records)]


async def lose(leader: Leading, stage: Stage, host: str) -> None:
    """It is cut off, and an operator says that it is lost."""
    stage.network.cut(f"{host}:1")
    await until(lambda: leader.reign.links.links[host].health is not Health.LIVE)
    await leader.verdicts.declare_lost([host], True, ME)


async def come_back(leader: Leading, stage: Stage) -> None:
    """All hosts; whatever others had taken over is let go."""
    stage.network.mend()
    await until(lambda: not leader.reign.state.lost and not stage.world.twice)


def newer(vcpus: int) -> types.FleetSpec:
    spec = types.FleetSpec()
    spec.CopyFrom(SPEC)
    spec.vcpus = vcpus
    return spec


async def do(leader: Leading, action: Action, indices: str | IndexSet) -> int:
    chosen = parse_ranges(indices) if isinstance(indices, str) else indices
    made = await leader.upkeep.control(Chosen("spv", chosen), action, ME, plan_only=False, token="")
    return len(made.indices)


def test_a_new_leader_says_how_many_hosts_it_has_heard_and_does_not_call_the_rest_trouble() -> None:
    async def first(leader: Leading, stage: Stage) -> None:
        for name in ("h4", "h5"):
            stage.agent(name).mute = True

    async def second(leader: Leading, stage: Stage) -> None:
        await until(lambda: leader.reign.links.by_health[Health.LIVE] == 4)
        status = answers.status(leader.reign, "spv")
        assert (status.settling.heard, status.settling.hosts) == (4, 6)
        assert 0 <= status.settling.seconds < 5
        assert status.fleets[0].states[types.VM_STATE_UNKNOWN] == 8
        assert not status.fleets[0].problems
        await until(lambda: not leader.reign.settling)
        status = answers.status(leader.reign, "spv")
        assert not status.HasField("settling")
        (problem,) = status.fleets[0].problems
        assert (problem.kind, problem.hosts, problem.count) == ("host_unreachable", 2, 8)

    play(first, second)


def test_a_drained_host_is_empty_in_the_end_and_all_vms_run_elsewhere() -> None:
    async def scene(leader: Leading, stage: Stage) -> None:
        await leader.upkeep.drain("h0", ME)
        await until(lambda: left(leader, "h0") == 0)
        await until(lambda: converged(leader))
        assert len(stage.world.running) == 24
        assert "h0" not in stage.world.running.values()
        assert host_answers.host_counts(leader.reign).draining == 1
        assert await leader.upkeep.remove("h0", False, ME) == 0
        assert "h0" not in leader.reign.state.hosts
        assert kinds(leader)["host_draining"] == kinds(leader)["host_removed"] == 1

    play(scene)


def test_status_counts_each_vm_once_while_it_moves() -> None:
    async def scene(leader: Leading, stage: Stage) -> None:
        await leader.upkeep.drain("h0", ME)
        seen = set()
        while left(leader, "h0"):
            status = answers.fleet_status(leader.reign, leader.reign.state.fleets["spv"])
            assert status.placed == 24 and not status.unplaced
            seen.add(bool(leader.reign.observed.staging.get(status.uid)))
            await asyncio.sleep(0.05)
        assert True in seen, "some were seen on their way"

    play(scene)


def test_a_leader_that_changes_in_the_middle_of_a_drain_goes_on_with_it() -> None:
    async def first(leader: Leading, stage: Stage) -> None:
        await leader.upkeep.drain("h0", ME)
        uid = leader.reign.state.fleets["spv"].uid
        await until(lambda: bool(leader.reign.observed.staging[uid]))

    async def second(leader: Leading, stage: Stage) -> None:
        await until(lambda: leader.reign.plans_freely)
        await until(lambda: left(leader, "h0") == 0)
        await until(lambda: converged(leader))

    play(first, second)


def test_a_cancelled_drain_leaves_nothing_staged_and_everything_running() -> None:
    async def scene(leader: Leading, stage: Stage) -> None:
        await leader.upkeep.drain("h0", ME)
        uid = leader.reign.state.fleets["spv"].uid
        await until(lambda: bool(leader.reign.observed.staging[uid]))
        await leader.upkeep.cancel_drain("h0", ME)
        await until(lambda: not leader.reign.observed.staging[uid])
        await until(lambda: converged(leader))
        assert not leader.reign.state.hosts["h0"].draining

    play(scene)


def test_a_drain_that_waits_for_a_host_that_does_not_prepare_names_it_and_why() -> None:
    async def scene(leader: Leading, stage: Stage) -> None:
        for name in ("h1", "h2"):
            await leader.operations.cordon(name, True, ME)
        for name in ("h3", "h4", "h5"):
            stage.agent(name).assign_refusals = [Declined("the ledger's disk is full")] * 999
        await leader.upkeep.drain("h0", ME)
        await until(lambda: leader.reign.links.declining >= {"h3", "h4", "h5"})
        (found,) = answers.status(leader.reign, "").drains
        assert (found.host, found.progress.left, found.progress.moving) == ("h0", 4, 4)
        waited_for = [part.split(", which ") for part in found.progress.message.split("; ")]
        assert {why for _, why in waited_for} == {
            "does not take its assignment: the ledger's disk is full"
        }
        assert sum(int(who.split()[0]) for who, _ in waited_for) == 4
        assert {who[-2:] for who, _ in waited_for} <= {"h3", "h4", "h5"}
        detail = host_answers.host_detail(leader.reign, "h0")
        assert detail.drain.message == found.progress.message
        for name in ("h3", "h4", "h5"):
            stage.agent(name).assign_refusals.clear()
        await until(lambda: left(leader, "h0") == 0)
        assert not answers.status(leader.reign, "").drains, "it is empty"
        assert host_answers.host_detail(leader.reign, "h0").drain.done
        assert not host_answers.host_detail(leader.reign, "h1").HasField("drain")

    play(scene)


def test_a_drain_that_waits_for_its_own_host_to_let_go_says_so() -> None:
    async def scene(leader: Leading, stage: Stage) -> None:
        uid = leader.reign.state.fleets["spv"].uid
        own = stage.agent("h0")
        own.holds_back = True
        own.problems = [
            wire.Problem(kind="destroy", fleet_uid=uid, count=1, example_message="it is busy")
        ]
        await leader.upkeep.drain("h0", ME)
        await until(lambda: leader.upkeep.drained("h0").releasing == 4)
        await until(lambda: "h0" in leader.reign.observed.troubled)
        (found,) = answers.status(leader.reign, "").drains
        assert found.progress.releasing == 4
        assert found.progress.message == (
            "4 VMs wait for h0 to let them go, which reports destroy: it is busy"
        )
        own.holds_back = False
        await until(lambda: left(leader, "h0") == 0)

    play(scene)


def test_a_drain_that_fits_nowhere_says_which_hosts_are_full_and_how_many_more_would_do() -> None:
    async def scene(leader: Leading, stage: Stage) -> None:
        await leader.operations.cordon("h5", True, ME)
        await leader.upkeep.drain("h0", ME)
        await until(lambda: "h0" in leader.reign.last_pass.unplaced)
        (found,) = answers.status(leader.reign, "").drains
        assert found.progress.message == (
            "8 VMs fit on no other host and stay where they are: 4 hosts are full at 8 each "
            "(guests) (2 more are cordoned, draining or out of reach); 1 more host like these "
            "would do"
        )

    play(scene, total=HOSTS * PER_HOST)


def test_of_many_drains_a_status_shows_those_in_plain_trouble_first() -> None:
    async def scene(leader: Leading, stage: Stage) -> None:
        for number in (0, 1, 2):
            await leader.upkeep.drain(f"h{number}", ME)
            stage.agent(f"h{number}").holds_back = True
        stage.network.cut("h2:1")
        await until(lambda: leader.reign.links.by_health[Health.LIVE] == HOSTS - 1)
        first = answers.status(leader.reign, "").drains[0]
        assert first.host == "h2" and "h2 cannot be reached" in first.progress.message
        stage.network.mend()
        for number in (0, 1, 2):
            stage.agent(f"h{number}").holds_back = False
        await until(lambda: not answers.status(leader.reign, "").drains)

    play(scene)


def test_a_host_that_dies_while_it_is_drained_keeps_its_vms_until_it_is_back() -> None:
    async def scene(leader: Leading, stage: Stage) -> None:
        stage.network.cut("h0:1")
        await leader.upkeep.drain("h0", ME)
        await asyncio.sleep(60)
        now = leader.upkeep.drained("h0")
        assert now.left == 4
        assert "h0 cannot be reached" in leader.upkeep.hindrance("h0", now)
        stage.network.mend()
        await until(lambda: left(leader, "h0") == 0)
        await until(lambda: converged(leader))

    play(scene)


def test_an_announcement_does_not_end_a_drain() -> None:
    async def scene(leader: Leading, stage: Stage) -> None:
        await leader.upkeep.drain("h0", ME)
        facts = types.HostFacts(incarnation="i", capacity=types.Capacity(guests=PER_HOST))
        await leader.announcements.announce("h0", "h0:1", facts)
        assert leader.reign.state.hosts["h0"].draining

    play(scene)


def test_a_dead_host_is_removed_by_force_and_lets_go_when_it_comes_back() -> None:
    async def scene(leader: Leading, stage: Stage) -> None:
        with pytest.raises(Refused, match="drain it first"):
            await leader.upkeep.remove("h0", False, ME)
        with pytest.raises(Refused, match="h0 answers"):
            await leader.upkeep.remove("h0", True, ME)
        dead = stage.agent("h0")
        stage.network.cut("h0:1")
        for vm in [vm for vm, host in stage.world.running.items() if host == "h0"]:
            stage.world.stop(vm, "h0")  # its power is off
            del dead.restarts[vm]
        await until(lambda: leader.reign.links.by_health[Health.LIVE] == HOSTS - 1)
        assert await leader.upkeep.remove("h0", True, ME) == 4
        await until(lambda: converged(leader))
        assert len(stage.world.running) == 24
        stage.network.mend()
        facts = types.HostFacts(incarnation="i", capacity=types.Capacity(guests=PER_HOST))
        await leader.announcements.announce("h0", "h0:1", facts)
        await until(lambda: not dead.births)
        await until(lambda: converged(leader))

    play(scene)


def test_a_host_whose_vms_are_stopped_is_not_forgotten_with_them() -> None:
    async def scene(leader: Leading, stage: Stage) -> None:
        await leader.upkeep.control(
            Chosen("spv", host="h0"), Action.STOP, ME, plan_only=False, token=""
        )
        stage.network.cut("h0:1")
        await until(lambda: leader.reign.links.by_health[Health.LIVE] == HOSTS - 1)
        with pytest.raises(Refused, match="4 VMs of h0 are stopped"):
            await leader.upkeep.remove("h0", True, ME)

    play(scene)


def test_only_a_lost_host_is_drained_by_force() -> None:
    async def scene(leader: Leading, stage: Stage) -> None:
        with pytest.raises(Refused, match="h0 is not declared lost"):
            await leader.upkeep.give_up("h0", ME)

    play(scene)


def test_a_lost_host_is_drained_by_force_and_lets_go_when_it_is_back() -> None:
    async def scene(leader: Leading, stage: Stage) -> None:
        await lose(leader, stage, "h0")
        with pytest.raises(Refused, match="h0 is declared lost"):
            await leader.upkeep.drain("h0", ME)
        await asyncio.sleep(5)
        assert left(leader, "h0") == 4, "its fleet waits for it"
        await leader.upkeep.give_up("h0", ME)
        assert left(leader, "h0") == 0, "what it has to let go holds nobody up"
        await until(lambda: converged(leader))
        status = answers.fleet_status(leader.reign, leader.reign.state.fleets["spv"])
        assert (status.duplicates, status.on_lost_hosts, status.releasing) == (4, 0, 0)
        assert len(stage.world.running) == 24
        with pytest.raises(Refused, match="has not yet let go of 4 VMs"):
            await leader.upkeep.remove("h0", False, ME)
        await come_back(leader, stage)
        await until(lambda: not leader.reign.duplicates)
        assert converged(leader) and not stage.agent("h0").births
        assert leader.reign.state.hosts["h0"].draining
        assert await leader.upkeep.remove("h0", False, ME) == 0

    play(scene)


def test_a_draining_host_that_is_declared_lost_in_the_middle_is_succeeded_at_once() -> None:
    async def scene(leader: Leading, stage: Stage) -> None:
        stage.agent("h0").holds_back = True  # it never says what it has let go
        uid = leader.reign.state.fleets["spv"].uid
        await leader.upkeep.drain("h0", ME)
        await until(lambda: bool(leader.reign.observed.staging[uid]))
        await lose(leader, stage, "h0")
        await until(lambda: converged(leader))
        assert left(leader, "h0") == 0
        assert not any(leader.reign.observed.staging.values())
        assert len(stage.world.running) == 24
        assert "h0" not in stage.world.running.values()
        stage.network.mend()
        stage.agent("h0").holds_back = False
        await come_back(leader, stage)
        await until(lambda: not leader.reign.duplicates)
        assert converged(leader) and left(leader, "h0") == 0

    play(scene, spec=REPLACED)


def test_a_draining_host_of_a_fleet_that_waits_is_lost_over_leaders_and_goes_on_when_back() -> None:
    async def first(leader: Leading, stage: Stage) -> None:
        uid = leader.reign.state.fleets["spv"].uid
        await leader.upkeep.drain("h0", ME)
        await until(lambda: bool(leader.reign.observed.staging[uid]))
        await lose(leader, stage, "h0")

    async def second(leader: Leading, stage: Stage) -> None:
        await until(lambda: leader.reign.plans_freely)
        await asyncio.sleep(5)
        now = leader.upkeep.drained("h0")
        if now.left:
            assert "--force gives them up" in leader.upkeep.hindrance("h0", now)
        await come_back(leader, stage)
        await until(lambda: left(leader, "h0") == 0)
        await until(lambda: converged(leader))
        assert len(stage.world.running) == 24

    play(first, second)


def test_stopped_vms_of_a_lost_host_are_placed_off_and_stay_off() -> None:
    async def first(leader: Leading, stage: Stage) -> None:
        await leader.upkeep.control(
            Chosen("spv", host="h0"), Action.STOP, ME, plan_only=False, token=""
        )
        await until(lambda: len(stage.world.running) == 20)
        await lose(leader, stage, "h0")
        await until(lambda: host_answers.host_summary(leader.reign, "h0").assigned == 0)
        await until(lambda: converged(leader))
        status = answers.fleet_status(leader.reign, leader.reign.state.fleets["spv"])
        assert (status.placed, status.powered_off, len(stage.world.running)) == (24, 4, 20)

    async def second(leader: Leading, stage: Stage) -> None:
        await come_back(leader, stage)
        await until(lambda: converged(leader))
        await asyncio.sleep(10)
        assert len(stage.world.running) == 20
        assert await do(leader, Action.START, "0-23") == 4
        await until(lambda: len(stage.world.running) == 24)

    play(first, second, spec=REPLACED)


def test_an_orphan_of_what_is_only_staged_is_let_go_before_that_starts() -> None:
    async def scene(leader: Leading, stage: Stage) -> None:
        uid = leader.reign.state.fleets["spv"].uid
        old, third = stage.agent("h0"), stage.agent("h5")
        moving = IndexSet.of(index for _, index in old.births)
        old.holds_back = True
        await leader.upkeep.drain("h0", ME)
        await until(lambda: not leader.reign.state.assignments["h0"].shards)
        assert leader.reign.observed.staging[uid]
        third.orphans = [wire.Orphans(fleet_uid=uid, birth=1, ranges=wire_ranges(moving))]
        third.holds_back = True
        await until(lambda: bool(leader.reign.state.assignments["h5"].tombstones))
        old.holds_back = False
        await until(lambda: left(leader, "h0") == 0)
        await asyncio.sleep(10)
        assert len(stage.world.running) == 20, "what the third has of them is not let go yet"
        third.orphans, third.holds_back = [], False
        await until(lambda: converged(leader))
        assert len(stage.world.running) == 24

    play(scene)


def test_what_is_stopped_counts_as_converged_and_stays_off_over_leaders() -> None:
    async def first(leader: Leading, stage: Stage) -> None:
        assert await do(leader, Action.STOP, "0-9") == 10
        await until(lambda: len(stage.world.running) == 14)
        await until(lambda: converged(leader))
        status = answers.fleet_status(leader.reign, leader.reign.state.fleets["spv"])
        assert (status.powered_off, status.placed, status.unplaced) == (10, 24, 0)

    async def second(leader: Leading, stage: Stage) -> None:
        await until(lambda: converged(leader))
        assert len(stage.world.running) == 14
        await leader.operations.scale("spv", 30, ME)
        await until(lambda: converged(leader))
        assert len(stage.world.running) == 20
        await leader.upkeep.drain("h0", ME)
        await until(lambda: left(leader, "h0") == 0)
        await until(lambda: converged(leader))
        assert len(stage.world.running) == 20
        assert await do(leader, Action.START, "0-29") == 10
        await until(lambda: len(stage.world.running) == 30)
        await until(lambda: converged(leader))
        status = answers.fleet_status(leader.reign, leader.reign.state.fleets["spv"])
        assert status.powered_off == 0

    play(first, second)


def test_a_restart_reaches_the_agents_of_those_meant() -> None:
    async def scene(leader: Leading, stage: Stage) -> None:
        assert await do(leader, Action.RESTART, "0-3") == 4

        def restarted() -> set[int]:
            return {
                vm[1] for n in range(HOSTS)
                for vm, value in stage.agent(f"h{n}").restarts.items() if value
            }  # fmt: skip

        await until(lambda: restarted() == {0, 1, 2, 3})
        await until(lambda: converged(leader))

    play(scene)


def test_a_rollout_ends_with_all_vms_on_the_new_generation() -> None:
    async def scene(leader: Leading, stage: Stage) -> None:
        await leader.operations.apply("spv", newer(2), ME)
        wish = Wish(max_unavailable=3, by_label="rack")
        await leader.upkeep.start_rollout("spv", wish, ME, plan_only=False)
        fleet = leader.reign.state.fleets["spv"]
        fewest = 24
        while leader.reign.state.rollouts[fleet.uid].state == "running":
            fewest = min(fewest, len(stage.world.running))
            await asyncio.sleep(0.05)
        assert fewest >= 21
        status = answers.fleet_status(leader.reign, fleet)
        assert [(g.generation, g.running) for g in status.generations] == [(2, 24)]
        assert (status.rollout.state, status.rollout.done, status.rollout.left) == ("done", 24, 0)
        assert kinds(leader)["rollout_done"] == 1

    play(scene)


def test_a_rollout_that_fails_halts_by_itself_and_is_undone() -> None:
    async def scene(leader: Leading, stage: Stage) -> None:
        for number in range(HOSTS):
            stage.agent(f"h{number}").broken = {2}
        await leader.operations.apply("spv", newer(2), ME)
        await leader.upkeep.start_rollout("spv", Wish(max_unavailable=4), ME, plan_only=False)
        fleet = leader.reign.state.fleets["spv"]
        await until(lambda: leader.reign.state.rollouts[fleet.uid].state == "halted")
        assert len(stage.world.running) == 20, "no more than were allowed"
        shown = answers.rollout_status(leader.reign, fleet)
        assert shown is not None and shown.failed == 4 and "4 of 4" in shown.message
        assert leader.reign.state.fleets["spv"].generation == 1
        await leader.upkeep.undo_rollout("spv", ME, plan_only=False)
        await until(lambda: leader.reign.state.rollouts[fleet.uid].state == "done")
        await until(lambda: converged(leader))
        assert len(stage.world.running) == 24

    play(scene)


def test_a_leader_that_changes_in_the_middle_of_a_rollout_goes_on_with_it() -> None:
    async def first(leader: Leading, stage: Stage) -> None:
        await leader.operations.apply("spv", newer(2), ME)
        await leader.upkeep.start_rollout("spv", Wish(max_unavailable=2), ME, plan_only=False)
        uid = leader.reign.state.fleets["spv"].uid
        vector = leader.reign.observed.vectors[uid]
        await until(lambda: 2 in vector.by_generation())

    async def second(leader: Leading, stage: Stage) -> None:
        uid = leader.reign.state.fleets["spv"].uid
        await until(lambda: leader.reign.state.rollouts[uid].state == "done")
        await until(lambda: converged(leader))

    play(first, second)


def test_a_deleted_fleet_takes_its_rollout_with_it() -> None:
    async def scene(leader: Leading, stage: Stage) -> None:
        await leader.operations.apply("spv", newer(2), ME)
        await leader.upkeep.start_rollout("spv", Wish(), ME, plan_only=False)
        await leader.operations.delete("spv", ME)
        await until(lambda: "spv" not in leader.reign.state.fleets)
        entries = (await stage.store.read()).entries
        assert not [entry.key for entry in entries if entry.key.startswith("rollouts/")]

    play(scene)


# History


def test_each_drain_is_in_the_history_once_with_its_end_whoever_leads() -> None:
    async def first(leader: Leading, stage: Stage) -> None:
        await leader.upkeep.drain("h0", ME)
        await leader.upkeep.drain("h0", ME)  # changes nothing
        await until(lambda: leader.reign.state.hosts["h0"].drained)
        await leader.upkeep.drain("h1", ME)
        await leader.upkeep.cancel_drain("h1", ME)
        await leader.upkeep.cancel_drain("h1", ME)  # nor does this
        seen = kinds(leader)
        assert (seen["host_draining"], seen["host_drain_cancelled"], seen["host_drained"]) == (
            2,
            1,
            1,
        )

    async def second(leader: Leading, stage: Stage) -> None:
        await until(lambda: converged(leader))
        await asyncio.sleep(30)
        ours = [("drain", ME, "4 VMs to move"), ("drained", BY_LEADER, "")]
        assert told(leader, host="h0") == ours
        assert [line[0] for line in told(leader, host="h1")] == ["drain", "undrain"]
        await leader.upkeep.cancel_drain("h0", ME)
        await leader.upkeep.drain("h0", ME)
        await until(lambda: len(told(leader, host="h0")) == 5)
        assert told(leader, host="h0")[2:] == [
            ("undrain", ME, "0 VMs still there"), ("drain", ME, "0 VMs to move"), ours[1],
        ]  # fmt: skip
        await leader.upkeep.remove("h0", False, ME)
        assert told(leader, host="h0")[5:] == [("remove", ME, "")]

    play(first, second)


def test_what_is_given_up_by_force_is_in_the_history_with_how_much_it_was() -> None:
    async def scene(leader: Leading, stage: Stage) -> None:
        await lose(leader, stage, "h0")
        await leader.upkeep.give_up("h0", ME)
        await until(lambda: leader.reign.state.hosts["h0"].drained)
        await leader.upkeep.remove("h0", True, ME)
        assert told(leader, host="h0")[1:] == [
            ("drain", ME, "4 VMs given up"), ("drained", BY_LEADER, ""),
            ("remove", ME, "4 VMs given up"),
        ]  # fmt: skip

    play(scene)


@pytest.mark.parametrize("action", list(Action))
def test_what_is_done_to_vms_is_in_the_history_in_one_line(action: Action) -> None:
    async def scene(leader: Leading, stage: Stage) -> None:
        await do(leader, Action.STOP, "0-1")
        before = len(told(leader))
        meant = await do(leader, action, "0-11")
        hosts = {host for vm, host in stage.world.running.items() if vm[1] < 12}
        assert await do(leader, action, EMPTY) == 0
        (line,) = told(leader, fleet="spv")[before:]
        assert line[:2] == (f"vms_{action.value}", ME)
        assert line[2].startswith(f"{meant} VMs on ") and len(hosts) >= 1

    play(scene)


@pytest.mark.parametrize("fault", [Fault.ANSWER_LOST, Fault.REQUEST_LOST, Fault.REFUSED])
@pytest.mark.parametrize("at", [0, 1])
def test_what_takes_several_writes_is_told_with_the_first_of_them(
    fault: Fault, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleet_controller.commit.MAX_WRITES", 3)

    async def scene(leader: Leading, stage: Stage) -> None:
        stage.store.faults = [*[None] * at, fault]
        with suppress(StoreError):
            await do(leader, Action.STOP, "0-23")
        stage.store.faults = []
        off = IndexSet.union_of(
            shard.ranges
            for one in leader.reign.state.assignments.values()
            for shard in one.shards
            if not shard.power
        )
        lines = [line for line in told(leader) if line[0] == "vms_stop"]
        assert len(lines) == bool(off)

    play(scene)


def test_rollouts_are_in_the_history_by_whom_they_were_asked_for_and_how_they_ended() -> None:
    async def scene(leader: Leading, stage: Stage) -> None:
        for number in range(HOSTS):
            stage.agent(f"h{number}").broken = {2}
        await leader.operations.apply("spv", newer(2), ME)
        await leader.upkeep.start_rollout("spv", Wish(max_unavailable=4), ME, plan_only=True)
        await leader.upkeep.start_rollout("spv", Wish(max_unavailable=4), ME, plan_only=False)
        await leader.upkeep.turn_rollout("spv", "pause", ME, plan_only=False)
        await leader.upkeep.turn_rollout("spv", "resume", ME, plan_only=False)
        (uid,) = leader.reign.state.rollouts
        await until(lambda: leader.reign.state.rollouts[uid].state == "halted")
        await leader.upkeep.turn_rollout("spv", "abort", ME, plan_only=False)
        await leader.upkeep.undo_rollout("spv", ME, plan_only=False)
        await until(lambda: leader.reign.state.rollouts[uid].state == "done")
        lines = [line for line in told(leader, fleet="spv") if line[0].startswith("rollout")]
        assert [line[:2] for line in lines] == [
            ("rollout_start", ME), ("rollout_pause", ME), ("rollout_resume", ME),
            ("rollout_halted", BY_LEADER), ("rollout_abort", ME), ("rollout_undo", ME),
            ("rollout_done", BY_LEADER),
        ]  # fmt: skip
        assert lines[0][2] == "running, generation 1 to 2"
        assert "4 of 4 changed VMs failed" in lines[3][2]
        assert lines[-1][2] == "done, generation 2 to 1"

    play(scene)
