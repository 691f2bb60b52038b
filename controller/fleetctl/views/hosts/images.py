"""Golden images as JSON and as text. Pure: messages in, values out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fleet.v1 import agent_pb2 as agent
from fleet.v1 import cluster_pb2 as cluster
from fleetctl.cli.arguments import ImageId
from fleetctl.outcome import printable
from fleetctl.output import byte_text, number
from fleetctl.tables.column import Column, Kind, clock_text
from fleetctl.tables.listing import table

# Past this share of a pool ZFS slows down, and thin clones may find no room to be written to.
FULL = 0.8

DF_HEADERS = ("", "CLONES", "REFERENCED", "UNIQUE", "SHARED")
DIGEST_CHARACTERS = len("sha256:") + 12


Answers = Sequence[cluster.HostImages]


def unanswered(hosts: Answers) -> Iterator[str]:
    """Who has not answered, and why."""
    for one in hosts:
        if one.error:
            yield printable(f"{one.host}: {one.error}")


def only(image: ImageId, hosts: Answers) -> list[cluster.HostImages]:
    """Those hosts that have the image, with nothing else."""
    found = []
    for one in hosts:
        held = [each for each in one.images.images if _is(image, each)]
        if held:
            part = agent.ListImagesResponse(images=held, pool=one.images.pool)
            found.append(cluster.HostImages(host=one.host, images=part))
    return found


def _is(image: ImageId, one: agent.ImageOnHost) -> bool:
    return image.name == one.image.name and image.snapshot in ("", one.image.snapshot)


# JSON -------------------------------------------------------------------------------------


def image_json(one: agent.ImageOnHost) -> dict[str, Any]:
    """`digest`, `source` and `created` are null for what was made by other means."""
    return {
        "name": one.image.name,
        "snapshot": one.image.snapshot,
        "digest": one.image.digest or None,
        "size_bytes": one.size_bytes,
        **_space_json(one.space),
        "clones": one.clones,
        "created": one.created_unix or None,
        "source": one.source or None,
    }


def _space_json(space: agent.Space) -> dict[str, int]:
    return {
        "referenced_bytes": space.referenced_bytes,
        "unique_bytes": space.unique_bytes,
        "shared_bytes": _shared(space),
    }


def _shared(space: agent.Space) -> int:
    return max(0, space.referenced_bytes - space.unique_bytes)


def list_json(hosts: Answers) -> dict[str, Any]:
    return {
        "hosts": [
            {
                "host": one.host,
                "error": one.error or None,
                "images": [image_json(each) for each in one.images.images],
            }
            for one in hosts
        ]
    }


def df_json(hosts: Answers) -> dict[str, Any]:
    return {"hosts": [_host_df_json(one) for one in hosts]}


def _host_df_json(one: cluster.HostImages) -> dict[str, Any]:
    pool = one.images.pool
    return {
        "host": one.host,
        "error": one.error or None,
        "pool": None if one.error else {
            "name": pool.name,
            "total_bytes": pool.total_bytes,
            "free_bytes": pool.free_bytes,
            "used_fraction": round(used_share(pool), 4),
            "nearly_full": used_share(pool) >= FULL,
        },
        "images": [image_json(each) for each in one.images.images],
        "fleets": [
            {
                "fleet": each.fleet or None,
                "uid": each.fleet_uid,
                "clones": each.clones,
                **_space_json(each.space),
            }
            for each in one.images.fleets
        ],
    }  # fmt: skip


def imported_json(made: agent.ImageOnHost, host: str) -> dict[str, Any]:
    """`host` is null where it was left out."""
    return {"host": host or None} | image_json(made)


# Text -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ListedImage:
    """An image on a host."""

    host: str
    held: agent.ImageOnHost


def listed_images(hosts: Answers) -> list[ListedImage]:
    return [ListedImage(one.host, each) for one in hosts for each in one.images.images]


def _identity(one: ListedImage) -> str:
    return f"{one.held.image.name}@{one.held.image.snapshot}"


def _short_digest(one: ListedImage) -> str:
    return one.held.image.digest[:DIGEST_CHARACTERS] or "none"


IMAGE_COLUMNS: tuple[Column[ListedImage], ...] = (
    Column("IMAGE", _identity, Kind.NAME),
    Column("HOST", lambda one: one.host, Kind.NAME),
    Column("SIZE", lambda one: one.held.size_bytes, Kind.BYTES, rank=3),
    Column("TAKES", lambda one: one.held.space.referenced_bytes, Kind.BYTES, rank=2),
    Column("CLONES", lambda one: one.held.clones, Kind.NUMBER, rank=1),
    Column("DIGEST", _short_digest, Kind.NAME, rank=5),
    Column("SOURCE", lambda one: one.held.source, rank=4),
    Column("CREATED", lambda one: one.held.created_unix or None, Kind.AGE, 20, True),
)


def show_text(hosts: Answers) -> str:
    parts = [_detail(one.host, each) for one in hosts for each in one.images.images]
    return printable("\n\n".join(parts))


def _detail(host: str, one: agent.ImageOnHost) -> str:
    named = [
        ("image", f"{one.image.name}@{one.image.snapshot}"),
        ("host", host),
        ("digest", one.image.digest or "none recorded"),
        ("size", f"{byte_text(one.size_bytes)} ({number(one.size_bytes)} bytes)"),
        ("takes", _space_text(one.space)),
        ("clones", number(one.clones)),
        ("source", one.source),
        ("created", _when(one.created_unix)),
    ]
    return "\n".join(f"{name:<10}{value}" for name, value in named if value)


def _space_text(space: agent.Space) -> str:
    referenced, unique = byte_text(space.referenced_bytes), byte_text(space.unique_bytes)
    return f"{referenced}, of which {unique} would be freed with it"


def _when(seconds: float) -> str:
    """Local time."""
    return clock_text(seconds) if seconds else ""


def imported_text(made: agent.ImageOnHost) -> str:
    return printable(
        f"{made.image.name}@{made.image.snapshot}: {byte_text(made.size_bytes)}, takes "
        f"{byte_text(made.space.referenced_bytes)}, {made.image.digest}"
    )


def df_text(hosts: Answers) -> str:
    parts = ["\n".join(_df_lines(one)) for one in hosts if not one.error]
    return "\n\n".join(parts) if parts else "No hosts."


def _df_lines(one: cluster.HostImages) -> Iterable[str]:
    pool = one.images.pool
    yield printable(
        f"{one.host}  {pool.name}: {byte_text(pool.total_bytes - pool.free_bytes)} of "
        f"{byte_text(pool.total_bytes)} used ({used_share(pool):.0%}), "
        f"{byte_text(pool.free_bytes)} free"
    )
    rows = [
        *(
            _df_row(f"image {each.image.name}@{each.image.snapshot}", each.clones, each.space)
            for each in one.images.images
        ),
        *(
            _df_row(f"fleet {each.fleet or each.fleet_uid}", each.clones, each.space)
            for each in one.images.fleets
        ),
    ]
    if rows:
        yield table(DF_HEADERS, rows, "  ")


def _df_row(name: str, clones: int, space: agent.Space) -> tuple[str | int, ...]:
    taken = (space.referenced_bytes, space.unique_bytes, _shared(space))
    return (name, clones, *map(byte_text, taken))


def used_share(pool: agent.PoolSpace) -> float:
    return 1 - pool.free_bytes / pool.total_bytes if pool.total_bytes else 0.0


def full_pools(hosts: Answers) -> Iterator[str]:
    """A sentence for each pool that is nearly full."""
    for one in hosts:
        pool = one.images.pool
        if not one.error and used_share(pool) >= FULL:
            yield printable(
                f"{one.host}: {pool.name} is {used_share(pool):.0%} full; thin clones may find no "
                "room: delete images or fleets, or enlarge the pool"
            )
