"""An image on its way to hosts, as text and as JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fleet.v1 import agent_pb2 as agent
from fleet.v1 import cluster_pb2 as cluster
from fleetctl.outcome import printable
from fleetctl.output import byte_text, counted

PARTS = ("kernel", "initrd")


def spread_line(image: str, told: cluster.SpreadProgress) -> str:
    """golden@2: 12 of 16 hosts have it (83 %), 3 fetch, 240 MiB/s; slowest: dom0-7 40 %."""
    parts = [
        f"{image}: {told.held:,} of {counted(told.hosts, 'host')} have it ({_share(told):.0%})"
    ]
    if told.fetching:
        parts.append(f"{told.fetching:,} {'fetches' if told.fetching == 1 else 'fetch'}")
    if told.waiting:
        parts.append(f"{told.waiting:,} {'waits' if told.waiting == 1 else 'wait'} for a source")
    if told.failed:
        parts.append(f"{len(told.failed):,} failed")
    if told.bytes_per_second:
        parts.append(f"{byte_text(told.bytes_per_second)}/s")
    text = ", ".join(parts)
    if told.slowest:
        slow = ", ".join(f"{one.host} {_share_of(one):.0%}" for one in told.slowest)
        text += f"; slowest: {slow}"
    return printable(text)


def _share(told: cluster.SpreadProgress) -> float:
    return min(1.0, told.done_bytes / told.total_bytes) if told.total_bytes else 0.0


def _share_of(one: cluster.SpreadHost) -> float:
    return min(1.0, one.done_bytes / one.total_bytes) if one.total_bytes else 0.0


def spread_text(image: str, told: cluster.SpreadProgress, seconds: float) -> str:
    """How it ended."""
    return "\n".join(map(printable, _spread_lines(image, told, seconds)))


def _spread_lines(image: str, told: cluster.SpreadProgress, seconds: float) -> Iterator[str]:
    have = "has it" if told.held == 1 else "have it"
    yield f"{image}: {told.held:,} of {counted(told.hosts, 'host')} {have}, {seconds:.0f} s"
    for one in told.failed:
        yield f"  {one.host}: {one.why}"
    more = told.hosts - told.held - len(told.failed)
    if more > 0:
        yield f"  {counted(more, 'more host')} without it"
    for liar in told.liars:
        yield f"  {liar} gave chunks that do not have their digest: look at its disk and memory"


def spread_json(image: str, told: cluster.SpreadProgress) -> dict[str, Any]:
    return {
        "image": image,
        "hosts": told.hosts,
        "held": told.held,
        "fetching": told.fetching,
        "waiting": told.waiting,
        "done_bytes": told.done_bytes,
        "total_bytes": told.total_bytes,
        "failed": [{"host": one.host, "why": one.why} for one in told.failed],
        "liars": list(told.liars),
    }


def pushed_text(image: str, host: str, put: agent.PutImageAnswer) -> str:
    lines = [f"{image}: on {host}, {byte_text(put.image.size_bytes)}, {put.image.image.digest}"]
    lines += [f"  boot.{part}: {getattr(put, part)}" for part in PARTS if getattr(put, part)]
    return printable("\n".join(lines))


def pushed_json(host: str, put: agent.PutImageAnswer) -> dict[str, Any]:
    """`kernel` and `initrd` are null where the image has none."""
    return {
        "host": host,
        "digest": put.image.image.digest,
        "size_bytes": put.image.size_bytes,
        **{part: getattr(put, part) or None for part in PARTS},
    }


def upload_line(image: str, put: agent.PutImageAnswer, total: int) -> str:
    """golden@2: uploading, 1.2 GiB of 4.0 GiB (30 %)."""
    if put.step:
        return printable(f"{image}: {put.step}")
    share = min(1.0, put.done_bytes / total) if total else 1.0
    return printable(
        f"{image}: uploading, {byte_text(put.done_bytes)} of {byte_text(total)} ({share:.0%})"
    )
