"""Which hosts have an image and can give it to others, and which lack one for VMs of theirs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from fleet.template.host_needs import NeededImage, needs_of
from fleet.v1 import types_pb2 as types
from fleet_controller.core.holdings import HostHoldings
from fleet_controller.core.model import ClusterView, HostView


class Holders(NamedTuple):
    """`digest`: of what they all have; empty where nobody has it or they differ, and `why`."""

    digest: str
    hosts: tuple[str, ...]
    why: str = ""


class ImageNeed(NamedTuple):
    """Hosts that have VMs of an image, or are to, and lack it."""

    image: NeededImage
    hosts: frozenset[str]
    holders: Holders


Live = Callable[[str], bool]


def one_digest(digests: Mapping[str, Sequence[str]], wanted: NeededImage) -> Holders:
    """`digests`: hosts by what they have under the name."""
    named = f"{wanted.name}@{wanted.snapshot}"
    if wanted.digest:
        if having := tuple(digests.get(wanted.digest, ())):
            return Holders(wanted.digest, having)
        return Holders("", (), f"no live host that can hand images on has {wanted}")
    if not digests:
        return Holders("", (), f"no live host that can hand images on has {named}")
    most = max(digests, key=lambda digest: len(digests[digest]))
    if 2 * len(digests[most]) > sum(map(len, digests.values())):
        # One host's word, true or not, does not keep all others from it.
        return Holders(most, tuple(digests[most]))
    some = "; ".join(f"{hosts[0]} has {digest[:19]}" for digest, hosts in sorted(digests.items()))
    why = f"hosts have different contents under the name {named}, so a digest must be named"
    return Holders("", (), f"{why}: {some}"[:400])


def given_digests(
    hosts: Iterable[HostView], image: NeededImage, live: Live | None = None
) -> dict[str, list[str]]:
    """Hosts that can give the image, by the digest that they have of it. A host's class of
    holdings is looked at once."""
    known: dict[int, str] = {}
    found: defaultdict[str, list[str]] = defaultdict(list)
    for host in hosts:
        held = host.record.holdings
        digest = known.get(id(held))
        if digest is None:
            digest = known[id(held)] = _given(held, image)
        if digest and (live(host.record.id) if live else host.reachable):
            found[digest].append(host.record.id)
    return dict(found)


def _given(held: HostHoldings, image: NeededImage) -> str:
    if not held.gives_images:
        return ""
    return next(
        (
            one.digest
            for one in held.images or ()
            if (one.name, one.snapshot) == (image.name, image.snapshot)
        ),
        "",
    )


def holders_of(view: ClusterView, image: types.Image, live: Live) -> Holders:
    """Of an image that somebody named."""
    needed = NeededImage(image.name, image.snapshot, image.digest)
    return one_digest(given_digests(view.hosts.values(), needed, live), needed)


def image_needs(view: ClusterView, live: Live) -> list[ImageNeed]:
    """What live hosts lack for the VMs that they have, of the generation that they have and of the
    newest one of their fleets."""
    newest = {fleet.uid: fleet.generation for fleet in view.fleets.values()}
    images: dict[tuple[str, int], NeededImage | None] = {}
    lacking: defaultdict[NeededImage, set[str]] = defaultdict(set)
    for host in view.hosts.values():
        held = host.record.holdings
        if not held.fetches_images or not host.assignment.shards or not live(host.record.id):
            continue
        for shard in host.assignment.shards:
            for generation in {shard.generation, newest.get(shard.fleet, shard.generation)}:
                key = (shard.fleet, generation)
                if key not in images:
                    images[key] = fetched_image(view.specs.get(key))
                image = images[key]
                if image is not None and held.lacks_image(image):
                    lacking[image].add(host.record.id)
    return [
        ImageNeed(
            image,
            frozenset(hosts),
            one_digest(given_digests(view.hosts.values(), image, live), image),
        )
        for image, hosts in sorted(lacking.items())
    ]


def fetched_image(spec: types.FleetSpec | None) -> NeededImage | None:
    """The image of a template, where hosts may fetch it."""
    if spec is None or spec.image.local_only:
        return None
    return needs_of(spec).image
