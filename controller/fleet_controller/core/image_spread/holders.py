"""Which hosts have an image and can give it to others, and which lack one for VMs of theirs."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from fleet.template.host_needs import NeededImage, needs_of
from fleet.v1 import types_pb2 as types
from fleet_controller.core.holdings import HostHoldings
from fleet_controller.core.model import Assignment, FleetRecord, HostRecord
from fleet_controller.core.names import counted


class Holders(NamedTuple):
    """`digest`: of what is meant; empty where nobody gives it or hosts differ, and `why`."""

    digest: str
    hosts: tuple[str, ...]
    why: str = ""


class ImageNeed(NamedTuple):
    """Hosts that have VMs of an image, or are to, and lack it."""

    image: NeededImage
    hosts: frozenset[str]
    holders: Holders


class KnownHost(NamedTuple):
    record: HostRecord
    assignment: Assignment
    live: bool


class Contents(NamedTuple):
    """By digest, what hosts have under one name: who can give it, and how many have it in all."""

    givers: Mapping[str, Sequence[str]]
    counts: Mapping[str, int]


Live = Callable[[str], bool]


def one_digest(contents: Contents, wanted: NeededImage) -> Holders:
    named = f"{wanted.name}@{wanted.snapshot}"
    if wanted.digest:
        if having := tuple(contents.givers.get(wanted.digest, ())):
            return Holders(wanted.digest, having)
        return Holders("", (), f"no live host that can hand images on has {wanted}")
    if not contents.givers:
        return Holders("", (), f"no live host that can hand images on has {named}")
    most = max(contents.counts, key=lambda digest: contents.counts[digest])
    if 2 * contents.counts[most] <= sum(contents.counts.values()):
        some = "; ".join(
            f"{counted(count, 'host')} {'has' if count == 1 else 'have'} {digest[:19]}"
            for digest, count in sorted(contents.counts.items())
        )
        why = f"hosts have different contents under the name {named}, so a digest must be named"
        return Holders("", (), f"{why}: {some}"[:400])
    # One host's word, true or not, does not keep all others from it.
    if having := tuple(contents.givers.get(most, ())):
        return Holders(most, having)
    why = f"no live host that can hand images on has {named} as most hosts have it ({most[:19]})"
    return Holders("", (), f"{why}: start one, or name a digest")


def contents_of(hosts: Iterable[tuple[HostRecord, bool]], image: NeededImage) -> Contents:
    """`hosts`: all that are known, and whether each is live. Those that are away, or do not give,
    count all the same: who is alone for a moment does not decide what others boot. A host's class
    of holdings is looked at once."""
    known: dict[int, str] = {}
    givers: defaultdict[str, list[str]] = defaultdict(list)
    counts: Counter[str] = Counter()
    for record, live in hosts:
        held = record.holdings
        digest = known.get(id(held))
        if digest is None:
            digest = known[id(held)] = _digest(held, image)
        if digest:
            counts[digest] += 1
            if live and held.gives_images:
                givers[digest].append(record.id)
    return Contents(givers, counts)


def _digest(held: HostHoldings, image: NeededImage) -> str:
    return next(
        (
            one.digest
            for one in held.images or ()
            if (one.name, one.snapshot) == (image.name, image.snapshot)
        ),
        "",
    )


def holders_of(hosts: Iterable[HostRecord], image: types.Image, live: Live) -> Holders:
    """Of an image that somebody named."""
    needed = NeededImage(image.name, image.snapshot, image.digest)
    return one_digest(contents_of(((one, live(one.id)) for one in hosts), needed), needed)


def image_needs(
    hosts: Sequence[KnownHost],
    fleets: Iterable[FleetRecord],
    specs: Mapping[tuple[str, int], types.FleetSpec],
) -> list[ImageNeed]:
    """What live hosts lack for the VMs that they have, of the generation that they have and of the
    newest one of their fleets."""
    newest = {fleet.uid: fleet.generation for fleet in fleets}
    images: dict[tuple[str, int], NeededImage | None] = {}
    lacking: defaultdict[NeededImage, set[str]] = defaultdict(set)
    for host in hosts:
        held = host.record.holdings
        if not (held.fetches_images and host.live):
            continue
        for shard in host.assignment.shards:
            for generation in {shard.generation, newest.get(shard.fleet, shard.generation)}:
                key = (shard.fleet, generation)
                if key not in images:
                    images[key] = fetched_image(specs.get(key))
                image = images[key]
                if image is not None and held.lacks_image(image):
                    lacking[image].add(host.record.id)
    known = [(host.record, host.live) for host in hosts]
    return [
        ImageNeed(image, frozenset(lack), one_digest(contents_of(known, image), image))
        for image, lack in sorted(lacking.items())
    ]


def fetched_image(spec: types.FleetSpec | None) -> NeededImage | None:
    """The image of a template, where hosts may fetch it."""
    if spec is None or spec.image.local_only:
        return None
    return needs_of(spec).image
