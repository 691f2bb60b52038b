"""What must come about soon where nothing stands in its way: somebody leads, and hosts that are
back have given up what others run."""

from __future__ import annotations

from fleet_controller.store.keys import LEADER
from tests.simulation.doubles.cluster import LOOK_SECONDS, SimulatedCluster
from tests.simulation.doubles.controllers import Controller
from tests.simulation.doubles.etcd import ETCD
from tests.simulation.doubles.machine import Machine
from tests.simulation.rules.division import Division
from tests.simulation.rules.in_the_end import InTheEnd
from tests.simulation.rules.one_copy import RETURN_SECONDS

# Without a leader though somebody could lead: longer than the life of a lease, the wait for a
# store that answered nobody, and a start.
LEADERLESS_SECONDS = 15.0


class Returns:
    """Looks every second for copies that a host should have given up: that is back, and that
    nothing has troubled for long enough."""

    def __init__(self, cluster: SimulatedCluster, division: Division, in_the_end: InTheEnd) -> None:
        self._cluster = cluster
        self._division = division
        self._in_the_end = in_the_end
        self._since: dict[str, float] = {}  # hosts that nothing troubles, and since when

    def look(self) -> None:
        """Every second."""
        cluster, now = self._cluster, self._cluster.loop.now
        led = cluster.operator.leading() is not None and not cluster.etcd.down
        calm = led and cluster.store_weather.calm and cluster.network.weather.calm
        self._since = {
            host: self._since.get(host, now)
            for host, machine in cluster.machines.items()
            if calm and self._is_left_alone(machine)
        }
        for vm, hosts in self._in_the_end.twice().items():
            if all(now - self._since.get(host, now) > RETURN_SECONDS for host in hosts):
                cluster.fail("return", f"{vm[1]} of {vm[0]} still runs on {sorted(hosts)}")
        cluster.loop.after(LOOK_SECONDS, self.look)

    def _is_left_alone(self, machine: Machine) -> bool:
        cluster, process = self._cluster, machine.process
        return (
            process is not None
            and process.runs
            and machine.id in self._division.hosts  # one that was removed is to announce itself
            and machine.behaviour.well
            and not machine.disk.full
            and all(
                one.process is not None
                and one.process.runs
                and cluster.network.is_open(one.name, machine.id)
                and cluster.network.is_open(machine.id, one.name)
                for one in cluster.controllers
            )
        )


class Succession:
    """Looks every second."""

    def __init__(self, cluster: SimulatedCluster) -> None:
        self._cluster = cluster
        self._since: dict[str, float] = {}  # controllers that could lead, and since when
        self._vacant = cluster.loop.now

    def look(self) -> None:
        """Every second."""
        cluster, now = self._cluster, self._cluster.loop.now
        if cluster.etcd.created(LEADER):
            self._vacant = now
        self._since = {
            one.life: self._since.get(one.life, now)
            for one in cluster.controllers
            if self._could_lead(one)
        }
        since = min(self._since.values(), default=now)
        if now - max(since, self._vacant) > LEADERLESS_SECONDS:
            cluster.fail("succession", f"nobody leads for {LEADERLESS_SECONDS:.0f} s")
        cluster.loop.after(LOOK_SECONDS, self.look)

    def _could_lead(self, controller: Controller) -> bool:
        cluster, process = self._cluster, controller.process
        return (
            process is not None
            and process.runs
            and not cluster.etcd.down
            and cluster.store_weather.calm
            and cluster.network.is_open(controller.name, ETCD)
            and cluster.network.is_open(ETCD, controller.name)
            and cluster.network.weather.calm
        )
