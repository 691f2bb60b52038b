"""Whatever happens between the leader, its store and its hosts: one copy, and in the end all.

The leader is the real one, on a virtual clock; hosts obey in their own time; the store loses,
delays and refuses; ways to hosts are cut; hosts are declared lost, by time and by operators, and
return; leaders resign and crash. No VM ever runs twice but where its earlier holder was declared
lost, what was answered is true, and when the trouble ends the index set is exactly the one asked
for, each once.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet.ranges import IndexSet
from fleet.v1 import types_pb2 as types
from fleet_controller.changes.vms import Chosen
from fleet_controller.core.host_loss.loss import LossSettings
from fleet_controller.core.model import Assignment, FleetRecord
from fleet_controller.core.refusals import Refused
from fleet_controller.core.rollouts_and_drains.control import Action
from fleet_controller.core.rollouts_and_drains.rollout_orders import RolloutAction, RolloutOptions
from fleet_controller.election.election import LeadershipLost
from fleet_controller.leader.environment import LeaderSettings
from fleet_controller.mirror.committer import Outdated
from fleet_controller.replica.leader import Leader
from fleet_controller.replica.replica import Replica
from fleet_controller.store import keys
from fleet_controller.store.codec import decode
from fleet_controller.store.memory import MemoryStore
from fleet_controller.store.port import Put, Unavailable, UnknownOutcome
from tests.doubles import answers
from tests.doubles.faulty_store import Fault, FaultyStore
from tests.doubles.leading import leading_or_none, replica_over, until
from tests.doubles.obedient_agents import Network, ObedientAgent, World
from tests.virtual_loop import run_virtual

HOSTS = 6
PER_HOST = 8
CAPACITY = HOSTS * PER_HOST
HEARTBEAT = 4.0
NOTHING_CHANGED = (Refused, Unavailable, LeadershipLost, Outdated)
SPEC = types.FleetSpec(
    memory_bytes=4 << 20,
    vcpus=1,
    on_loss=types.ON_LOSS_REPLACE,
    placement=types.Placement(policy=types.Placement.POLICY_SPREAD, spread_label="rack"),
)

# Short, so that some of the cuts last longer.
QUICK_LOSS = LeaderSettings(
    settle=5.0, loss=LossSettings(lost_after=15.0, budget=6, rack_share=1, fleet_share=0.5)
)

seconds = st.floats(0.0, 8.0)
trouble = st.one_of(
    st.tuples(st.just("scale"), st.integers(0, CAPACITY), seconds),
    st.tuples(st.just("scale"), st.integers(0, CAPACITY), seconds),
    st.tuples(st.just("cut"), st.integers(0, HOSTS - 1), seconds),
    st.tuples(st.just("mend"), st.just(0), seconds),
    st.tuples(st.just("fault"), st.sampled_from(Fault), seconds),
    st.tuples(st.just("release"), st.just(0), seconds),
    st.tuples(st.just("crash"), st.just(0), seconds),
    st.tuples(st.just("resign"), st.just(0), seconds),
    st.tuples(st.just("generation"), st.integers(2, 9), seconds),
    st.tuples(st.just("cordon"), st.integers(0, HOSTS - 1), seconds),
    st.tuples(st.just("drain"), st.integers(0, HOSTS - 1), seconds),
    st.tuples(st.just("drain"), st.integers(0, HOSTS - 1), seconds),
    st.tuples(st.just("undrain"), st.integers(0, HOSTS - 1), seconds),
    st.tuples(st.sampled_from(Action), st.integers(0, CAPACITY), seconds),
    st.tuples(st.just("rollout"), st.integers(0, 3), seconds),
    st.tuples(st.just("lose"), st.integers(0, HOSTS - 1), seconds),
    st.tuples(st.just("pardon"), st.integers(0, HOSTS - 1), seconds),
    st.tuples(st.just("give up"), st.integers(0, HOSTS - 1), seconds),
)


@dataclass
class Play:
    """One cluster in one virtual world."""

    random: Random
    world: World = field(default_factory=World)
    network: Network = field(default_factory=Network)
    totals: set[int] = field(default_factory=lambda: {0})  # what the fleet's may be, as answered
    terms: int = 0

    def __post_init__(self) -> None:
        self.store = FaultyStore(MemoryStore(asyncio.get_running_loop().time))
        self.leader: asyncio.Task[None] | None = None
        self.replica: Replica | None = None
        self.world.is_lost = self.was_lost

    def was_lost(self, host: str) -> bool:
        """Whether any leader has ever tried to declare it lost."""
        return any(
            isinstance(write, Put)
            and write.key == keys.host(host)
            and b'"lost":true' in write.value
            for _, writes in self.store.txns
            for write in writes
        )

    async def begin(self, group: asyncio.TaskGroup) -> None:
        """Another process of the same replica takes the place of the last."""
        self.terms += 1
        self.replica = replica_over(self.store, self.network, seed=self.terms, settings=QUICK_LOSS)
        self.leader = group.create_task(self.replica.run())

    async def end(self, *, crash: bool) -> None:
        assert self.leader is not None
        self.store.cut = crash  # a crashed leader revokes no lease
        self.leader.cancel()
        await asyncio.wait([self.leader])
        self.store.cut = False

    async def leading(self) -> Leader:
        await until(lambda: self._leading() is not None)
        found = self._leading()
        assert found is not None
        return found

    def _leading(self) -> Leader | None:
        assert self.replica is not None
        return leading_or_none(self.replica)

    async def settle(self) -> None:
        """Six hosts in three racks, and an empty fleet."""
        leading = await self.leading()
        for number in range(HOSTS):
            name = f"h{number}"
            self.network.agents[f"{name}:1"] = ObedientAgent(name, self.world, self.random)
            facts = types.HostFacts(
                incarnation="i",
                labels={"rack": f"r{number % 3}"},
                capacity=types.Capacity(guests=PER_HOST),
            )
            await leading.announcements.announce(name, f"{name}:1", facts)
        await leading.fleets.apply("spv", SPEC, "operator/me")

    async def heartbeats(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT)
            for agent in list(self.network.agents.values()):
                assert isinstance(agent, ObedientAgent)
                agent.beat()

    async def scale(self, total: int) -> None:
        leading = self._leading()
        if leading is None:
            return
        try:
            async with asyncio.timeout(20):
                await leading.fleets.scale("spv", total, "operator/me", partial=True)
            self.totals = {total}
        except NOTHING_CHANGED:
            return
        except (UnknownOutcome, TimeoutError):
            self.totals.add(total)

    async def change(self, what: str, which: int) -> None:
        """A new template, or something said of a host; trouble is nobody's business here."""
        leading = self._leading()
        if leading is None:
            return
        spec = types.FleetSpec()
        spec.CopyFrom(SPEC)
        spec.vcpus = which
        try:
            async with asyncio.timeout(20):
                await self._change(leading, what, which, spec)
        except (*NOTHING_CHANGED, UnknownOutcome, TimeoutError):
            return

    async def _change(self, leading: Leader, what: str, which: int, spec: types.FleetSpec) -> None:
        me, hosts = "operator/me", leading.hosts
        match what:
            case "generation":
                await leading.fleets.apply("spv", spec, me)
            case "cordon":
                await leading.hosts.cordon(f"h{which}", which % 2 == 0, me)
            case "drain":
                await hosts.drain(f"h{which}", me)
            case "undrain":
                await hosts.cancel_drain(f"h{which}", me)
            case "lose" | "pardon":
                await leading.verdicts.declare_lost([f"h{which}"], what == "lose", me)
            case "give up":
                await hosts.give_up(f"h{which}", me)
            case "rollout" if which == 0:
                options = RolloutOptions(max_unavailable=3, by_label="rack")
                await leading.rollouts.start("spv", options, me, plan_only=False)
            case "rollout" if which == 1:
                await leading.rollouts.undo("spv", me, plan_only=False)
            case "rollout":
                turn = RolloutAction.PAUSE if which == 2 else RolloutAction.RESUME
                await leading.rollouts.turn("spv", turn, me, plan_only=False)
            case _:
                chosen = Chosen("spv", IndexSet.span(which // 2, which + 1))
                await leading.vms.control(chosen, Action(what), me, plan_only=False, token="")


async def act(play: Play, group: asyncio.TaskGroup, what: str, which: int | Fault) -> None:
    match what, which:
        case "scale", int(total):
            group.create_task(play.scale(total))
        case "cut", int(host):
            play.network.cut(f"h{host}:1")
        case "mend", _:
            play.network.mend()
        case "fault", Fault() as fault:
            play.store.faults.append(fault)
        case "release", _:
            await play.store.release()
        case "crash" | "resign", _:
            await play.end(crash=what == "crash")
            await play.begin(group)
        case _, int(number):
            group.create_task(play.change(what, number))


async def check(play: Play) -> None:
    """When the trouble has ended: told the truth, divided exactly, and running everywhere."""
    leading = await play.leading()
    for number in range(HOSTS):
        await leading.hosts.cordon(f"h{number}", False, "operator/me")
        await leading.hosts.cancel_drain(f"h{number}", "operator/me")
    await leading.vms.control(Chosen("spv"), Action.START, "operator/me", plan_only=False, token="")
    snapshot = await play.store.read()
    stored = {entry.key: entry.value for entry in snapshot.entries}
    fleet = decode(FleetRecord, "spv", stored[keys.fleet("spv")])
    assert fleet.total in play.totals, "what was answered is true"
    leader = leading
    await until(
        lambda: answers.fleet_status(leader, "spv").converged,
        600.0,
    )
    await until(lambda: leader.memory.observed.converged == HOSTS, 600.0)
    await until(lambda: not any(leader.memory.observed.staging.values()), 600.0)
    await until(lambda: not play.world.twice and not leader.memory.state.lost, 600.0)
    await until(lambda: not leader.planning.duplicates, 600.0)
    assert play.world.running.keys() == {(fleet.uid, index) for index in range(fleet.total)}
    divided = {
        entry.key.removeprefix(keys.ASSIGNMENTS): decode(Assignment, entry.key, entry.value)
        for entry in (await play.store.read(keys.ASSIGNMENTS)).entries
    }
    held = {host: one.indices(fleet.uid) for host, one in divided.items()}
    assert sum(map(len, held.values())) == fleet.total
    assert IndexSet.union_of(held.values()) == IndexSet.span(0, fleet.total)
    for agent in play.network.agents.values():
        assert isinstance(agent, ObedientAgent)
        births = {
            (shard.fleet, index): shard.birth
            for shard in divided.get(agent.host_id, Assignment()).shards
            for index in shard.ranges
        }
        assert agent.births == births


async def play_out(steps: list[tuple[str, int | Fault, float]], seed: int) -> None:
    play = Play(Random(seed))
    async with asyncio.TaskGroup() as group:
        beating = group.create_task(play.heartbeats())
        await play.begin(group)
        await play.settle()
        async with asyncio.TaskGroup() as doing:
            for what, which, pause in steps:
                await act(play, doing if what not in ("crash", "resign") else group, what, which)
                await asyncio.sleep(pause)
        play.store.faults.clear()
        await play.store.release()
        play.network.mend()
        await check(play)
        await play.end(crash=False)
        beating.cancel()


@settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
@given(st.lists(trouble, min_size=1, max_size=14), st.integers(0, 9))
def test_no_vm_runs_twice_and_in_the_end_all_that_were_asked_for_run(
    steps: list[tuple[str, int | Fault, float]], seed: int
) -> None:
    run_virtual(play_out(steps, seed))
