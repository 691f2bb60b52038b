"""What Prometheus is shown of a cluster: true, bounded, and quickly read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from random import Random

from prometheus_client import CollectorRegistry, Metric

from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from fleet_controller.core.model import Health, HostRecord
from fleet_controller.metrics import labels
from fleet_controller.metrics.cluster_metrics import cluster_metrics
from fleet_controller.metrics.fleet_metrics import fleet_metrics
from fleet_controller.metrics.reading import cluster_sample
from fleet_controller.metrics.replica_metrics import replica_metrics
from fleet_controller.metrics.scale_durations import FleetTotal, ScaleDurations
from fleet_controller.metrics.scrape_targets import scrape_targets
from fleet_controller.metrics.snapshot import ClusterSample, Snapshot
from fleet_controller.replica.leader import Leader
from fleet_controller.store.health import NOSPACE, MemberHealth, StoreHealth
from fleet_controller.store.memory import MemoryStore
from tests.doubles.leading import leading, until
from tests.doubles.obedient_agents import Network, ObedientAgent, World
from tests.shared.test_documents import _problem_kinds
from tests.virtual_loop import run_virtual

HOSTS, PER_HOST = 4, 10
SPEC = types.FleetSpec(memory_bytes=4 << 20, vcpus=1)
ME = "operator/me"
Values = dict[tuple[str, ...], float]


def values(metrics: Iterable[Metric]) -> Values:
    """By the series' name and its labels' values."""
    return {
        (sample.name.removeprefix("megafleet_"), *sample.labels.values()): sample.value
        for metric in metrics
        for sample in metric.samples
    }


def played(scenario: Callable[[Leader], Awaitable[None]]) -> None:
    """Four live hosts, and an empty fleet called spv."""

    async def whole() -> None:
        network, world = Network(), World()
        async with leading(MemoryStore(asyncio.get_running_loop().time), network) as leader:
            for n in range(HOSTS):
                name = f"h{n}"
                network.agents[f"{name}:1"] = ObedientAgent(name, world, Random(n))
                facts = types.HostFacts(
                    incarnation="i",
                    agent_version="1.2",
                    capacity=types.Capacity(guests=PER_HOST),
                    labels={"rack": "r1"},
                )
                await leader.announcements.announce(name, f"{name}:1", facts)
            await until(lambda: leader.memory.links.by_health[Health.LIVE] == HOSTS)
            await leader.fleets.apply("spv", SPEC, ME)
            await scenario(leader)

    run_virtual(whole())


def test_a_leader_tells_its_cluster() -> None:
    async def scenario(leader: Leader) -> None:
        await leader.fleets.scale("spv", 30, ME)
        await until(
            lambda: values(cluster_metrics(cluster_sample(leader)))["fleet_converged", "spv"] == 1
        )
        told = values(cluster_metrics(cluster_sample(leader, each_host=True)))
        assert told["fleet_wanted_vms", "spv"] == 30
        assert told["fleet_vms", "spv", "running"] == 30
        assert told["fleet_vms", "spv", "failed"] == 0
        assert told["fleet_unplaced_vms", "spv"] == 0
        assert told["placed_vms",] == 30
        assert told["capacity_vms",] == HOSTS * PER_HOST
        assert told["hosts", "live"] == HOSTS
        assert told["hosts", "lost"] == 0
        assert told["hosts_of_version", "1.2"] == HOSTS
        assert told["frozen",] == told["breaker_open",] == told["duplicate_vms",] == 0
        assert told["host_live", "h0"] == 1
        assert sum(told["host_assigned_vms", f"h{n}"] for n in range(HOSTS)) == 30

    played(scenario)


def test_what_has_no_host_is_told_with_its_reason() -> None:
    async def scenario(leader: Leader) -> None:
        await leader.fleets.scale("spv", 60, ME, partial=True)
        await until(lambda: leader.memory.observed.vectors[uid_of(leader)].placed == 40)
        await until(lambda: bool(leader.planning.plans["spv"].unplaced))
        told = values(cluster_metrics(cluster_sample(leader)))
        assert told["fleet_unplaced_vms", "spv"] == 20
        assert sum(value for key, value in told.items() if key[0] == "unplaced_vms") == 20

    played(scenario)


def test_what_a_new_bound_no_longer_allows_is_told() -> None:
    async def scenario(leader: Leader) -> None:
        await leader.fleets.scale("spv", 4, ME)
        await until(
            lambda: values(cluster_metrics(cluster_sample(leader)))["fleet_converged", "spv"] == 1
        )
        assert values(cluster_metrics(cluster_sample(leader)))["fleet_misplaced_vms", "spv"] == 0
        elsewhere = types.FleetSpec()
        elsewhere.CopyFrom(SPEC)
        elsewhere.placement.selector["rack"] = "r2"
        await leader.fleets.apply("spv", elsewhere, ME)
        assert values(cluster_metrics(cluster_sample(leader)))["fleet_misplaced_vms", "spv"] == 4

    played(scenario)


def uid_of(leader: Leader) -> str:
    return leader.memory.state.fleets["spv"].uid


def test_series_of_a_host_are_there_only_where_they_are_asked_for() -> None:
    async def scenario(leader: Leader) -> None:
        told = values(cluster_metrics(cluster_sample(leader)))
        assert not any(key[0].startswith("host_") for key in told)

    played(scenario)


def test_a_fleet_has_some_nine_series_and_the_rest_some_three_hundred() -> None:
    fleets = [
        cluster.FleetStatus(
            fleet=f"f{n:04d}", total=1000 - n % 7, states=[0, 1, 1, 1, 1, 90, 3, 1, 1],
            problems=[
                cluster.StatusProblem(kind=f"made-up-{n}-{m}", count=1, hosts=1) for m in range(9)
            ],
        )
        for n in range(1_000)
    ]  # fmt: skip
    told = values(fleet_metrics(fleets))
    assert len(told) <= (labels.FLEETS + 1) * 12
    assert sum(value for key, value in told.items() if key[0] == "fleet_wanted_vms") == sum(
        fleet.total for fleet in fleets
    )
    sample = ClusterSample(
        cluster.StatusResponse(fleets=fleets), 0, {f"v{n}": 1 for n in range(99)}, 0, (), 0.0
    )
    members = tuple(
        MemberHealth("", f"10.0.0.{n}:2379", "", (NOSPACE,), 1, 2, 0.1) for n in range(20)
    )
    store, events = StoreHealth(members, 0.1), {f"kind{n}": 1 for n in range(500)}
    whole = values(
        replica_metrics(
            Snapshot("c", "1", True, 5, {"controller": 1}, store, 1.0, events, 1.0, sample)
        )
    )
    assert len(whole) - len(told) <= 300


def test_kinds_that_a_host_makes_up_are_told_as_other() -> None:
    problems = [
        cluster.StatusProblem(kind=kind, count=2, hosts=1)
        for kind in ("no_memory", "x" * 300, "evil")
    ]
    fleet = cluster.FleetStatus(fleet="spv", problems=problems)
    status = cluster.StatusResponse(fleets=[fleet])
    told = values(cluster_metrics(ClusterSample(status, 0, {}, 0, (), 0.0)))
    assert told["problem_vms", "no_memory"] == 2
    assert told["problem_vms", "other"] == 4
    assert told["problem_hosts", "other"] == 2


def test_every_kind_of_problem_has_its_own_series() -> None:
    assert _problem_kinds() <= labels.PROBLEMS


def test_a_standby_tells_itself_and_the_store() -> None:
    there = MemberHealth("etcd-1", "a:1", used=5, quota=10, seconds=0.01)
    gone = MemberHealth("", "b:1", "connection refused")
    store = StoreHealth((there, gone), None, "no quorum")
    told = values(replica_metrics(Snapshot("c2", "1.0", True, 7, {"controller": 99}, store, 2.0)))
    assert told["controller_info", "c2", "1.0"] == 1
    assert told["controller_leads",] == 0
    assert told["controller_term",] == 7
    assert told["store_member_up", "a:1"] == 1
    assert told["store_member_up", "b:1"] == 0
    assert told["store_member_size_bytes", "a:1"] == 5
    assert told["store_readable",] == 0
    assert told["certificate_end_timestamp_seconds", "controller"] == 99
    assert not any(key[0] in ("hosts", "frozen", "store_read_seconds") for key in told)


def test_a_scale_is_measured_from_its_begin_until_all_is_as_wanted() -> None:
    now = 0.0
    registry = CollectorRegistry()
    scales = ScaleDurations(registry, lambda: now)

    def measured() -> tuple[float | None, float | None]:
        value = registry.get_sample_value
        return value("megafleet_scale_seconds_count"), value("megafleet_scale_seconds_sum")

    scales.look({"u": FleetTotal(5, False)})  # under way already
    scales.look({"u": FleetTotal(5, True)})
    assert measured() == (0, 0)
    now = 10.0
    scales.look({"u": FleetTotal(9, False)})
    now = 14.0
    scales.look({"u": FleetTotal(9, True)})
    scales.look({"u": FleetTotal(9, True)})
    assert measured() == (1, 4)
    scales.look({"u": FleetTotal(1, False)})
    scales.forget()
    scales.look({"u": FleetTotal(1, True)})
    assert measured() == (1, 4)


def test_all_hosts_are_told_for_discovery() -> None:
    hosts = [
        HostRecord("b", "[2001:db8::2]:7441", {"rack": "r2"}),
        HostRecord("a", "192.0.2.1:7441"),
        HostRecord("c", ""),
    ]
    assert scrape_targets(hosts, 7443, "rack") == [
        {"targets": ["192.0.2.1:7443"], "labels": {"host": "a", "rack": ""}},
        {"targets": ["[2001:db8::2]:7443"], "labels": {"host": "b", "rack": "r2"}},
    ]
