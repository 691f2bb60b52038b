"""The health of an etcd from what its members answer; who tells it, and when."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from fleet.etcd import rpc_pb2 as rpc
from fleet_controller.events import EventLog
from fleet_controller.replica.replica import NotLeading
from fleet_controller.replica.store_health import INTERVAL_SECONDS, StoreHealthPoll
from fleet_controller.store.etcd.health import Asked, members_health, unasked
from fleet_controller.store.etcd.member import explain
from fleet_controller.store.health import MemberHealth, StoreHealth
from fleet_controller.store.memory import MemoryStore
from fleet_controller.store.port import Full
from tests.doubles.leading import leading_or_none, replica_over, until
from tests.doubles.scripted_agents import FakeDialer
from tests.virtual_loop import virtual

LISTED = tuple(
    rpc.EtcdMember(ID=number, name=f"etcd-{number}", clientURLs=[f"https://10.0.0.{number}:2379"])
    for number in (1, 2, 3)
)


def answered(number: int, *errors: str, address: str = "") -> Asked:
    status = rpc.StatusResponse(
        header=rpc.ResponseHeader(member_id=number), version="3.5.16", dbSize=100, errors=errors
    )
    return Asked(address or f"10.0.0.{number}:2379", status, LISTED, seconds=0.01)


@pytest.mark.parametrize(
    ("details", "clause"),
    [
        (
            "Stream removed (Transport closed (Delayed close due to in-progress write (Socket"
            " closed) (sendmsg: Broken pipe (32))))",
            "the connection to it was lost",
        ),
        ("Socket closed", "the connection to it was lost"),
        (
            "failed to connect to all addresses; last error: UNKNOWN: ipv4:10.0.0.1:2379: Failed to"
            " connect to remote host: Connection refused",
            "Connection refused",
        ),
        ("etcdserver: no leader", "no leader"),
    ],
)
def test_errors_of_the_store_are_one_clause_for_people(details: str, clause: str) -> None:
    nothing = grpc.aio.Metadata()
    code = grpc.StatusCode.UNAVAILABLE
    assert explain(grpc.aio.AioRpcError(code, nothing, nothing, details)) == clause


def test_a_dead_member_is_named_though_no_endpoint_names_it() -> None:
    asked = [answered(1), answered(2)]
    assert unasked(asked) == ["10.0.0.3:2379"]
    asked.append(Asked("10.0.0.3:2379", problem="Connection refused"))
    health = StoreHealth(members_health(asked), 0.01)
    assert [one.problem for one in health.members] == ["", "", "Connection refused"]
    assert health.troubles() == [
        "member etcd-3 at 10.0.0.3:2379 cannot be reached: Connection refused"
    ]


def test_a_member_under_two_addresses_is_one() -> None:
    asked = [answered(1), answered(2), answered(3, address="etcd.example:2379")]
    assert unasked(asked) == []
    assert [one.name for one in members_health(asked)] == ["etcd-1", "etcd-2", "etcd-3"]


def test_an_alarm_is_of_the_member_it_names_whoever_tells_it() -> None:
    asked = [answered(1, "memberID:2 alarm:NOSPACE "), answered(2), answered(3)]
    assert [one.alarms for one in members_health(asked)] == [(), ("NOSPACE",), ()]
    (trouble,) = StoreHealth(members_health(asked), 0.01).troubles()
    assert "NOSPACE" in trouble and "etcd-2" in trouble and "etcdctl alarm disarm" in trouble


def test_while_no_member_answers_the_endpoints_stand_for_them() -> None:
    (member,) = members_health([Asked("10.0.0.1:2379", problem="no answer in time")])
    assert (member.name, member.address) == ("", "10.0.0.1:2379")


def test_space_that_runs_out_is_told_before_it_has() -> None:
    member = MemberHealth("etcd-1", "10.0.0.1:2379", used=85, quota=100)
    assert "85%" in StoreHealth((member,), 0.01).troubles()[0]


class Ailing(MemoryStore):
    """One whose health is as told, and that is full when told so."""

    told = StoreHealth((), 0.0)
    full = False

    async def health(self) -> StoreHealth:
        return self.told

    async def grant(self, ttl_seconds: int) -> int:
        if self.full:
            raise Full("etcd at 10.0.0.1:2379 refuses: its database is full (NOSPACE)")
        return await super().grant(ttl_seconds)


@virtual
async def test_what_changes_of_the_store_is_one_event_each() -> None:
    clock = asyncio.get_running_loop().time
    store, events = Ailing(clock), EventLog(clock)
    poll = asyncio.create_task(StoreHealthPoll(store, clock, events).run())

    async def looked() -> list[str]:
        await asyncio.sleep(3 * INTERVAL_SECONDS)
        return [one.kind for one in events.page(0, 100, "", "").events]

    assert await looked() == []
    store.told = StoreHealth((MemberHealth("etcd-1", "10.0.0.1:2379", "gone"),), 0.0)
    assert await looked() == ["store_degraded"]
    store.told = StoreHealth((MemberHealth("etcd-1", "10.0.0.1:2379", "still gone"),), 0.0)
    assert await looked() == ["store_degraded"], "the same member, in other words"
    store.told = StoreHealth((MemberHealth("etcd-1", "10.0.0.1:2379"),), 0.0)
    assert await looked() == ["store_degraded", "store_mended"]
    poll.cancel()


@virtual
async def test_who_cannot_lead_as_the_store_is_full_says_so() -> None:
    store = Ailing(asyncio.get_running_loop().time)
    store.full = True
    replica = replica_over(store, FakeDialer())
    running = asyncio.create_task(replica.run())
    await asyncio.sleep(5)
    with pytest.raises(NotLeading, match=r"no controller leads: .* its database is full \(NOSPACE"):
        replica.leader()
    store.full = False
    await until(lambda: leading_or_none(replica) is not None)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
