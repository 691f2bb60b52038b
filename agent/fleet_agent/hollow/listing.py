"""What the hollow drivers of a process hold, counted past the agents: the independent listing.

On a unix socket: one line in, one line of JSON out. The line is `all`, or a host's id. The
answer to `all`, and to a host's id, is an object by fleet uid:

    {"<uid>": {"running": 250, "defined": 250, "clones": 250,
               "indices": "0-249", "distinct": 250, "duplicates": 0,
               "births": {"17": 250}, "births_digest": "<hex>"}}

`running` counts ready domains. `indices` are those of clones and domains together, `distinct`
their number, `duplicates` how many more copies than that there are. `births` counts VMs by
birth. The digest is over every (index range, generation, birth), in order, whoever holds it: it
is the same before and after exactly when the same VMs exist, with the same births.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fleet.keys import Kin
from fleet.ranges import EMPTY, IndexSet
from fleet_agent.core.model import Phase
from fleet_agent.core.plan.snapshot import Snapshot, snapshot_of
from fleet_agent.drivers.hollow.hypervisor import HollowHypervisor
from fleet_agent.drivers.hollow.storage import HollowStorage

Drivers = tuple[HollowStorage, HollowHypervisor]

REQUEST_SECONDS = 10.0


async def listing_of(drivers: Iterable[Drivers]) -> dict[str, dict[str, Any]]:
    """The answer for these hosts together."""
    snapshots = [
        snapshot_of(await storage.listing(), await hypervisor.listing())
        for storage, hypervisor in drivers
    ]
    uids = sorted({kin.fleet_uid for snapshot in snapshots for kin in snapshot.exists})
    return {uid: _fleet(uid, snapshots) for uid in uids}


def _fleet(uid: str, snapshots: list[Snapshot]) -> dict[str, Any]:
    held = [
        (kin, indices)
        for snapshot in snapshots
        for kin, indices in snapshot.exists.items()
        if kin.fleet_uid == uid
    ]
    everything = IndexSet.union_of(indices for _, indices in held)
    births: dict[str, int] = {}
    for kin, indices in held:
        births[str(kin.birth)] = births.get(str(kin.birth), 0) + len(indices)
    ready = (
        phases.get(Phase.READY, EMPTY)
        for snapshot in snapshots
        for kin, phases in snapshot.domains.items()
        if kin.fleet_uid == uid
    )
    return {
        "running": sum(len(indices) for indices in ready),
        "defined": _count(uid, (snapshot.defined for snapshot in snapshots)),
        "clones": _count(uid, (snapshot.clones for snapshot in snapshots)),
        "indices": str(everything),
        "distinct": len(everything),
        "duplicates": sum(len(indices) for _, indices in held) - len(everything),
        "births": births,
        "births_digest": _digest(held),
    }


def _count(uid: str, sets: Iterable[Mapping[Kin, IndexSet]]) -> int:
    return sum(len(indices) for one in sets for kin, indices in one.items() if kin.fleet_uid == uid)


def _digest(held: list[tuple[Kin, IndexSet]]) -> str:
    by_birth: dict[tuple[int, int], list[IndexSet]] = {}
    for kin, indices in held:
        by_birth.setdefault((kin.generation, kin.birth), []).append(indices)
    digest = hashlib.sha256()
    for (generation, birth), sets in sorted(by_birth.items()):
        digest.update(f"{generation} {birth} {IndexSet.union_of(sets)}\n".encode())
    return digest.hexdigest()


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


class ListingServer:
    """Answers on a unix socket until closed."""

    def __init__(self, hosts: Mapping[str, Drivers]) -> None:
        self._hosts = hosts

    async def start(self, path: Path) -> asyncio.Server:
        """Raises OSError. A socket left behind by a killed process is replaced."""
        _remove(path)
        return await asyncio.start_unix_server(self._serve, str(path))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                line = (await reader.readline()).decode("utf-8", "replace").strip()
                writer.write(json.dumps(await self._answer(line)).encode() + b"\n")
                await writer.drain()
        except (TimeoutError, ConnectionError, ValueError):
            # Whoever asked has gone, or asks for more than a line: nobody to tell.
            writer.transport.abort()
        finally:
            writer.close()

    async def _answer(self, line: str) -> dict[str, Any]:
        if line == "all":
            return await listing_of(self._hosts.values())
        if line in self._hosts:
            return await listing_of([self._hosts[line]])
        return {"error": f"no host {line[:80]!r} here; ask for 'all' or a host's id"}
