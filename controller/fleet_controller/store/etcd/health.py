"""How the members of an etcd are: each asked by itself, those too that no endpoint names.

Which members there are, etcd says; endpoints stand in for them while no member answers. Alarms
come with each member's own status: asking for them by their own call is a proposal, and fails
where there is no quorum.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import grpc

from fleet.etcd import rpc_pb2 as rpc
from fleet_controller.store.etcd.member import Member, explain
from fleet_controller.store.etcd.wire import parse_endpoint
from fleet_controller.store.health import MemberHealth

# For one member to say how it is. What is slower is as good as gone for a store.
MEMBER_SECONDS = 3.0
# Far above any etcd that works: a list that is longer is cut.
MOST_MEMBERS = 32
MOST_TEXT = 200

_ALARM = re.compile(r"memberID:(\d+)\s+alarm:([A-Z]{1,32})\b")


@dataclass(frozen=True, slots=True)
class Asked:
    """One address asked. `status` is None where it did not answer, and `problem` says why."""

    address: str
    status: rpc.StatusResponse | None = None
    listed: tuple[rpc.EtcdMember, ...] = ()
    problem: str = ""
    seconds: float = 0.0


async def ask_all(members: Iterable[Member]) -> list[Asked]:
    """Every one of them at the same time."""
    return await asyncio.gather(*(_ask(member) for member in members))


async def _ask(member: Member) -> Asked:
    loop = asyncio.get_running_loop()
    started = loop.time()
    try:
        async with asyncio.timeout(MEMBER_SECONDS):
            status = await member.probe(MEMBER_SECONDS, patient=False)
            seconds = loop.time() - started
            listed = await member.cluster.MemberList(
                rpc.MemberListRequest(), timeout=MEMBER_SECONDS
            )
    except grpc.aio.AioRpcError as error:
        return Asked(member.address, problem=explain(error)[:MOST_TEXT])
    except TimeoutError:
        return Asked(member.address, problem="no answer in time")
    return Asked(member.address, status, tuple(listed.members[:MOST_MEMBERS]), seconds=seconds)


def listed_members(asked: Sequence[Asked]) -> tuple[rpc.EtcdMember, ...]:
    """The members by the one that has seen most of the cluster's log; empty: nobody says."""
    told = [one for one in asked if one.status is not None]
    return max(told, key=lambda one: _index(one), default=Asked("")).listed


def _index(asked: Asked) -> int:
    return asked.status.raftIndex if asked.status is not None else 0


def unasked(asked: Sequence[Asked]) -> list[str]:
    """Addresses of listed members that none of the answers was from."""
    known = {one.address for one in asked}
    heard = {one.status.header.member_id for one in asked if one.status is not None}
    return [
        address
        for member in listed_members(asked)
        if member.ID not in heard and (address := client_address(member)) and address not in known
    ]


def client_address(member: rpc.EtcdMember) -> str:
    """Where it says that clients find it; empty where that cannot be understood."""
    for url in member.clientURLs[:1]:
        try:
            return parse_endpoint(url[:MOST_TEXT])
        except ValueError:
            return ""
    return ""


def members_health(asked: Sequence[Asked]) -> tuple[MemberHealth, ...]:
    """One for each member, by name; one for each address while no member says who they are."""
    alarms: dict[int, set[str]] = {}
    for one in asked:
        for text in one.status.errors if one.status is not None else ():
            for member, alarm in _ALARM.findall(text):
                alarms.setdefault(int(member), set()).add(alarm)
    by_id = {one.status.header.member_id: one for one in asked if one.status is not None}
    by_address = {one.address: one for one in asked}
    listed = listed_members(asked)
    if not listed:
        return tuple(_health("", one, set()) for one in asked)
    made = [
        _health(
            member.name[:MOST_TEXT],
            by_id.get(member.ID) or _silent(by_address, client_address(member)),
            alarms.get(member.ID, set()),
        )
        for member in listed
    ]
    return tuple(sorted(made, key=lambda one: (one.name, one.address)))


def _silent(by_address: dict[str, Asked], address: str) -> Asked:
    """What is known of a member that did not answer. An address at which another member answers
    is not its own."""
    asked = by_address.get(address)
    if asked is None or asked.status is not None:
        return Asked(address or "an unknown address", problem="it has never been up")
    return asked


def _health(name: str, asked: Asked, alarms: set[str]) -> MemberHealth:
    status = asked.status
    if status is None:
        return MemberHealth(name, asked.address, asked.problem, tuple(sorted(alarms)))
    return MemberHealth(
        name,
        asked.address,
        alarms=tuple(sorted(alarms)),
        used=max(0, status.dbSize),
        quota=max(0, status.dbSizeQuota),
        seconds=asked.seconds,
        version=status.version[:MOST_TEXT],
    )
