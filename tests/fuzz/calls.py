"""Mutated calls to both services, by every role, and what must hold of each answer."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor

from fleet.transport import CALLER_METADATA, channel_options
from fleet.v1 import agent_pb2, cluster_pb2
from fleet.v1 import types_pb2 as types
from tests.fuzz.cluster import ROLES, FuzzedCluster, holder
from tests.fuzz.mutations import Mutations, Names

SECONDS = 8.0  # until a call without a stream has its answer
STREAM_SECONDS = 0.15  # that a stream of answers is read
ROUND = 300  # calls between two looks at whether all is well
AT_ONCE = 32
METHODS: tuple[MethodDescriptor, ...] = tuple(
    method
    for file, service in (
        (cluster_pb2.DESCRIPTOR, "ClusterService"), (agent_pb2.DESCRIPTOR, "AgentService"),
    )
    for method in file.services_by_name[service].methods
)  # fmt: skip
# Waits by what it is: a host that is not there yet, a recovery that reads all hosts.
WAITS = frozenset({"Drain", "Doctor", "Tune", "ListImages", "DeleteImage", "ListEvents"})
# Said by this end, not by the other: it was written to when it had answered already.
CUT_SHORT = "Internal error from Core"
UNPARSED = "DecodeError"
_NEVER = frozenset({grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL})


@dataclass(frozen=True, slots=True)
class Input:
    """One call: everything that it takes to make it again."""

    service: str
    method: str
    role: str
    messages: tuple[str, ...]  # hexadecimal
    caller: str = ""  # for whom it is passed on, as it says


@dataclass(slots=True)
class Finding:
    """What was wrong, and the shortest input that showed it."""

    what: str
    shown_by: list[Input]

    @property
    def size(self) -> int:
        return sum(len(message) for one in self.shown_by for message in one.messages)


@dataclass(slots=True)
class Reached:
    """What was reached, and what was found there. `findings` by what they are."""

    outcomes: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    findings: dict[str, Finding] = field(default_factory=dict)
    inputs: int = 0

    def found(self, kind: str, what: str, shown_by: Sequence[Input]) -> None:
        new = Finding(what, list(shown_by))
        known = self.findings.get(kind)
        if known is None or new.size < known.size:
            self.findings[kind] = new

    def save(self, folder: Path) -> list[Path]:
        """A file each, which `--again` plays."""
        folder.mkdir(parents=True, exist_ok=True)
        written = []
        for kind, one in sorted(self.findings.items()):
            path = folder / f"{hashlib.sha256(kind.encode()).hexdigest()[:12]}.json"
            inputs = [asdict(shown) for shown in one.shown_by]
            path.write_text(json.dumps({"kind": kind, "what": one.what, "inputs": inputs}))
            written.append(path)
        return written


def loaded(path: Path) -> list[Input]:
    given = json.loads(path.read_text())["inputs"]
    return [Input(**{**one, "messages": tuple(one["messages"])}) for one in given]


class Caller:
    """Makes inputs, and the calls of them. All inputs follow from `random` and what exists."""

    def __init__(self, cluster: FuzzedCluster, random: Random, reached: Reached) -> None:
        self._cluster = cluster
        self._random = random
        self._reached = reached
        self._mutations = Mutations(random, _names(cluster))
        self._channels: dict[tuple[str, str], grpc.aio.Channel] = {}

    async def close(self) -> None:
        for channel in self._channels.values():
            await channel.close()
        self._channels.clear()

    def drawn(self) -> Input:
        random = self._random
        method = random.choice(METHODS)
        role = random.choice(ROLES)
        count = random.choice((1, 1, 2, 3)) if method.client_streaming else 1
        messages = tuple(self._drawn(method).hex() for _ in range(count))
        caller = random.choice(("operator/root", "operator/", "x", "\u00e9", "viewer/\n"))
        passed_on = role == "controller" and random.random() < 0.3
        assert method.containing_service is not None
        service = method.containing_service.name
        return Input(service, method.name, role, messages, caller if passed_on else "")

    def _drawn(self, method: MethodDescriptor) -> bytes:
        message: Any = self._mutations.message(method.input_type)
        # What is done once, and lets nothing be done after it, is done seldom: a term from beyond
        # all others, a freeze by an operator.
        if self._random.random() < 0.97:
            if "term" in method.input_type.fields_by_name:
                message.term.CopyFrom(types.Term(store_generation=1, revision=1))
            if "begin" in method.input_type.fields_by_name:
                message.ClearField("begin")
        return self._mutations.wire(message)

    async def round(self, inputs: Sequence[Input]) -> None:
        """All of them, few at once, and what each has come to."""
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(made: Input) -> None:
            async with gate:
                await self._check(made)

        async with asyncio.TaskGroup() as group:
            for made in inputs:
                group.create_task(one(made))

    async def _check(self, made: Input) -> None:
        code, said = await self._call(made)
        self._reached.inputs += 1
        self._reached.outcomes[f"{made.service}/{made.method}", made.role, code.name] += 1
        where = f"{made.service}/{made.method}"
        if code in _NEVER:
            # Of what no method has seen yet, one is as good as the other.
            at = made.service if UNPARSED in said else where
            kind = f"{at}: {code.name} {_shape(said.partition(' : ')[0].partition(' with ')[0])}"
            self._reached.found(kind, f"by {made.role}: {said[:300]}", [made])
        elif code is grpc.StatusCode.DEADLINE_EXCEEDED and made.method not in WAITS:
            self._reached.found(f"{where}: no answer", f"by {made.role}", [made])

    async def _call(self, made: Input) -> tuple[grpc.StatusCode, str]:
        method = next(one for one in METHODS if one.name == made.method and _is_of(one, made))
        messages = [bytes.fromhex(message) for message in made.messages]
        # Bytes in, bytes out: whatever they are.
        channel: Any = self._channel(made)
        path = f"/fleet.v1.{made.service}/{made.method}"
        metadata = ((CALLER_METADATA, _ascii(made.caller)),) if made.caller else None
        seconds = STREAM_SECONDS if method.server_streaming else SECONDS
        how: Any = {"timeout": seconds, "metadata": metadata}
        if method.client_streaming:
            call = channel.stream_stream(path)(**how)
            await _write_all(call, messages)
        elif method.server_streaming:
            call = channel.unary_stream(path)(messages[0], **how)
        else:
            call = channel.unary_unary(path)(messages[0], **how)
        try:
            if method.server_streaming:
                while await call.read() is not grpc.aio.EOF:
                    pass
            else:
                await call
        except grpc.aio.AioRpcError:
            pass  # its code tells
        code, details = await call.code(), await call.details()
        if details == CUT_SHORT:
            code = grpc.StatusCode.CANCELLED
        if method.server_streaming and code is grpc.StatusCode.DEADLINE_EXCEEDED:
            code = grpc.StatusCode.OK  # it would have gone on
        return code, details or ""

    def _channel(self, made: Input) -> grpc.aio.Channel:
        key = (made.service, made.role)
        if key not in self._channels:
            address, name = self._cluster.address(made.service)
            self._channels[key] = grpc.aio.secure_channel(
                address, holder(made.role).for_channel(), channel_options(name)
            )
        return self._channels[key]


async def fuzz(
    cluster: FuzzedCluster, seed: str, reached: Reached, inputs: int, *, begin: int = 0
) -> int:
    """So many inputs from a seed, in rounds; the number of the next round. What is found is in
    `reached`; after a round that broke or poisoned anything all is made anew."""
    number, last = begin, reached.inputs + inputs
    while reached.inputs < last:
        random = Random(f"{seed}/{number}")
        caller = Caller(cluster, random, reached)
        drawn = [caller.drawn() for _ in range(min(ROUND, last - reached.inputs))]
        try:
            await caller.round(drawn)
        finally:
            await caller.close()
        await asyncio.to_thread(_after_round, cluster, reached, f"{seed}/{number}", drawn)
        number += 1
    return number


def _after_round(
    cluster: FuzzedCluster, reached: Reached, name: str, drawn: Sequence[Input]
) -> None:
    if wrong := cluster.wrong():
        reached.found(f"after a round: {_shape(wrong)}", f"round {name}: {wrong}", drawn)
        cluster.anew()
    elif not cluster.mended():
        cluster.anew()


async def again(cluster: FuzzedCluster, inputs: Sequence[Input], reached: Reached) -> str:
    """The same inputs, and what is wrong afterwards."""
    caller = Caller(cluster, Random(0), reached)
    try:
        await caller.round(inputs)
    finally:
        await caller.close()
    return await asyncio.to_thread(cluster.wrong)


def _names(cluster: FuzzedCluster) -> Names:
    hosts = [f"hollow-{number:05d}" for number in range(1, 5)]
    return Names(
        {
            "fleet_uid": [cluster.uid], "uid": [cluster.uid], "fleet": ["spv", ""],
            "fleets": ["spv"], "name": ["spv", "golden", "web"], "host_id": [cluster.agent_host],
            "host": [*hosts, ""], "hosts": hosts, "id": hosts, "address": ["127.0.0.1:1"],
            "snapshot": ["1"], "kernel": ["/boot/unix"], "target": ["xvda", "vda"],
            "total": [0, 5, 20], "generation": [1, 2], "store_generation": [1], "index": [0, 19],
            "until_unix": [0.0], "example_index": [0],
        }
    )  # fmt: skip


async def _write_all(call: Any, messages: Sequence[bytes]) -> None:
    """As far as the other end lets."""
    try:
        for message in messages:
            await call.write(message)
        await call.done_writing()
    except (grpc.aio.AioRpcError, grpc.aio.BaseError, asyncio.InvalidStateError):
        pass


def _is_of(method: MethodDescriptor, made: Input) -> bool:
    return method.containing_service is not None and method.containing_service.name == made.service


def _ascii(text: str) -> str:
    return "".join(one if " " <= one <= "~" else "?" for one in text)


def _shape(said: str) -> str:
    """The same for all that say the same of different things."""
    return "".join("0" if one.isdigit() else one for one in said)[:80]
