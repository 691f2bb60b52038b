"""Agents that do at once what they are told, in a world that lets no VM run twice."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from fleet.assignment_bytes import assignment_bytes
from fleet.ranges import IndexSet
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet.wire_ranges import from_wire
from fleet_controller.agents.port import AheadOfStore, Declined
from tests.doubles.scripted_agents import FakeDialer, ScriptedAgent, Stream, stale_term

Vm = tuple[str, int]  # fleet uid, index


@dataclass
class World:
    """All VMs that run anywhere. One runs twice only where all its hosts but one have been lost:
    those let go of it, before or after the one that is left begins."""

    hosts: dict[Vm, list[str]] = field(default_factory=lambda: defaultdict(list))
    is_lost: Callable[[str], bool] = lambda host: False

    @property
    def running(self) -> dict[Vm, str]:
        """Each VM with the host that started it last."""
        return {vm: hosts[-1] for vm, hosts in self.hosts.items()}

    @property
    def twice(self) -> set[Vm]:
        return {vm for vm, hosts in self.hosts.items() if len(hosts) > 1}

    def start(self, vm: Vm, host: str) -> None:
        hosts = self.hosts[vm]
        if host not in hosts:
            hosts.append(host)
        rightful = [one for one in hosts if not self.is_lost(one)]
        assert len(rightful) < 2, f"{vm} is started on {host} and runs on {rightful}"

    def stop(self, vm: Vm, host: str) -> None:
        self.hosts[vm].remove(host)
        if not self.hosts[vm]:
            del self.hosts[vm]


class ObedientAgent(ScriptedAgent):
    """Takes a random moment for each assignment; remembers all it must, its VMs too."""

    def __init__(self, host_id: str, world: World, random: Random) -> None:
        super().__init__(host_id)
        self._world = world
        self._random = random
        self.term = (0, 0)
        self._term_told = types.Term()
        self._assignment_seal = b""
        self.births: dict[Vm, int] = {}  # of those that are defined, running or not
        self.restarts: dict[Vm, int] = {}  # for which value each was last started
        self.broken: set[int] = set()  # generations whose VMs fail to start
        self._generations: dict[Vm, int] = {}
        self._gone: list[wire.Gone] = []  # since the last report
        self._assignment = types.Assignment()
        self.orphaned: set[Vm] = set()  # those it has and no ledger knows of
        self.knows_observers = True  # False: an agent of an older release
        # What it says beside its states, and whether it keeps acknowledgements to itself.
        self.problems: list[wire.Problem] = []
        self.orphans: list[wire.Orphans] = []
        self.holds_back = False
        self.orders_refused = ""  # its ledger's disk is full: why it takes no assignment
        self.mute = False  # its streams open, and nothing comes

    @property
    def told(self) -> types.Assignment:
        """The last assignment it took."""
        return self._assignment

    def open(self, first: wire.WatchRequest) -> Stream:
        observed = first.observe and self.knows_observers
        if not observed:
            self._hear(first.term)
        self.speaks = False
        stream = super().open(first)
        self._report(full=True, **(self._for_observers() if observed else {}))
        return stream

    def forget(self) -> None:
        """Its ledger is gone: what it has is nobody's."""
        self.term = self.epoch = (0, 0)
        self._term_told, self.epoch_seal, self._assignment_seal = types.Term(), b"", b""
        self._assignment = types.Assignment()
        self.orphaned = set(self.births)

    def _for_observers(self) -> dict[str, Any]:
        return {
            "fleets": self._assignment.fleets,
            "specs": self._assignment.specs,
            "term": self._term_told,
            "assignment": assignment_bytes(self._assignment),
            "assignment_seal": self._assignment_seal,
        }

    async def assign(self, request: wire.AssignRequest) -> wire.AssignResponse:
        self.assigned.append(request)
        await asyncio.sleep(self._random.uniform(0.0, 0.5))
        if self.assign_refusals:
            raise self.assign_refusals.pop(0)
        if self.orders_refused:
            raise Declined(f"{self.host_id}: {self.orders_refused}")
        self._hear(request.term)
        epoch = (request.epoch.store_generation, request.epoch.revision)
        if epoch < self.epoch:
            raise AheadOfStore(f"{self.host_id} is at {self.epoch}, this is {epoch}")
        if epoch == self.epoch and request.assignment != self._assignment:
            raise Declined(f"{self.host_id} holds another assignment of {epoch}")
        self.epoch, self.epoch_seal = epoch, request.epoch.seal
        self._assignment, self._assignment_seal = request.assignment, request.assignment_seal
        self._obey()
        self.orphaned |= self.births.keys()
        self.orphaned -= {
            (shard.fleet_uid, index)
            for shard in request.assignment.shards
            for index in from_wire(shard.ranges)
        }
        if self.streams:
            self._report()
        return wire.AssignResponse(epoch=request.epoch)

    def beat(self) -> None:
        if self.streams:
            self._report()

    def reset(self, request: wire.ResetRequest) -> wire.ResetResponse:
        self.term, self._term_told = (0, 0), types.Term()
        self._hear(request.term)
        return super().reset(request)

    def _hear(self, term: types.Term) -> None:
        told = (term.store_generation, term.revision)
        if told < self.term:
            message = f"{self.host_id} has heard {self.term}, this is {told}"
            raise stale_term(message, self._term_told)
        self.term, self._term_told = told, term

    def _obey(self) -> None:
        wanted = {
            (shard.fleet_uid, index): (shard.birth, shard.generation)
            for shard in self._assignment.shards
            for index in from_wire(shard.ranges)
        }
        on = {
            (shard.fleet_uid, index): shard.restart
            for shard in self._assignment.shards
            if shard.power == types.POWER_ON and shard.generation not in self.broken
            for index in from_wire(shard.ranges)
        }
        for vm, birth in list(self.births.items()):
            replaced = vm in wanted and wanted[vm][0] > birth
            if replaced or self._has_tombstone(vm, birth, wanted):
                self._stop(vm)
                del self.births[vm], self._generations[vm]
                gone = types.IndexRange(start=vm[1], stop=vm[1] + 1)
                self._gone.append(wire.Gone(fleet_uid=vm[0], birth=birth, ranges=[gone]))
            elif vm in wanted and on.get(vm, -1) != self.restarts.get(vm):
                self._stop(vm)
        for vm, (birth, generation) in wanted.items():
            if vm not in self.births:
                self.births[vm], self._generations[vm] = birth, generation
        for vm in on.keys() - self.restarts.keys():
            self._world.start(vm, self.host_id)
            self.restarts[vm] = on[vm]

    def _stop(self, vm: Vm) -> None:
        if vm in self.restarts:
            self._world.stop(vm, self.host_id)
            del self.restarts[vm]

    def _has_tombstone(self, vm: Vm, birth: int, wanted: dict[Vm, tuple[int, int]]) -> bool:
        if vm in wanted and wanted[vm][0] == birth:
            return False
        return any(
            vm[0] == stone.fleet_uid
            and birth <= stone.born_until
            and vm[1] in from_wire(stone.ranges)
            for stone in self._assignment.tombstones
        )

    def _forgotten(self) -> list[wire.Orphans]:
        return [
            wire.Orphans(
                fleet_uid=uid,
                birth=self.births[uid, index],
                ranges=[types.IndexRange(start=index, stop=index + 1)],
            )
            for uid, index in sorted(self.orphaned)
            if (uid, index) in self.births
        ]

    def _report(self, full: bool = False, **more: Any) -> None:
        if self.mute:
            return
        kinds: dict[tuple[str, int, int], list[int]] = defaultdict(list)
        for (uid, index), birth in self.births.items():
            kinds[uid, self._generations[uid, index], birth].append(index)
        gone, self._gone = self._gone, []
        self.send(
            full=full,
            gone=[] if full else gone,
            converged=True,
            released=[] if self.holds_back else [stone.id for stone in self._assignment.tombstones],
            problems=self.problems,
            problems_set=True,
            orphans=[*self.orphans, *self._forgotten()],
            orphans_set=True,
            orders_refused=self.orders_refused,
            shards=[
                wire.ShardReport(
                    fleet_uid=uid,
                    generation=generation,
                    birth=birth,
                    runs=[
                        wire.StateRun(
                            start=start,
                            states=bytes(self._state((uid, i)) for i in range(start, stop)),
                        )
                        for start, stop in IndexSet.of(indices).ranges
                    ],
                )
                for (uid, generation, birth), indices in kinds.items()
            ],
            **more,
        )

    def _state(self, vm: Vm) -> int:
        if vm in self.restarts:
            return types.VM_STATE_RUNNING
        failed = self._generations[vm] in self.broken
        return types.VM_STATE_FAILED if failed else types.VM_STATE_DEFINED


class Network(FakeDialer):
    """A dialer whose ways to single hosts can be cut and mended."""

    def __init__(self) -> None:
        super().__init__(0.01)
        self._away: dict[str, ScriptedAgent] = {}

    def cut(self, address: str) -> None:
        agent = self.agents.pop(address, None)
        if agent is not None:
            self._away[address] = agent
            if agent.streams:
                agent.end()

    def mend(self) -> None:
        self.agents |= self._away
        self._away.clear()

    async def beating(self) -> None:
        """Heartbeats of all that can be reached, every 4 s, until it is cancelled."""
        while True:
            await asyncio.sleep(4.0)
            for agent in list(self.agents.values()):
                assert isinstance(agent, ObedientAgent)
                agent.beat()
