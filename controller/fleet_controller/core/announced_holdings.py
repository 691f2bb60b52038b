"""What a host has, as it is announced and as it is told: bounded, and of what fleets can name."""

from __future__ import annotations

import re
from collections.abc import Iterable

from fleet.v1 import types_pb2 as types
from fleet_controller.core.holdings import HeldImage, HostHoldings
from fleet_controller.core.refusals import Reason, Refused

# An agent tells no more; whoever does is refused.
MAX_IMAGES = 64
MAX_FOLDERS = 16
MAX_FILES = 128
MAX_BRIDGES = 64
# What fleets can name. An entry of another form is left out: no fleet asks for it.
_COMPONENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DIGEST = re.compile(r"(sha256:[0-9a-f]{64})?")
_PATH = re.compile(r"/[A-Za-z0-9._+/-]{0,254}")
_BRIDGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}")


def announced_holdings(facts: types.HostFacts) -> HostHoldings:
    """Raises Refused for more than a host may tell."""
    images, kernels, bridges = facts.images, facts.kernels, facts.bridges
    _check_count("images", len(images.images), MAX_IMAGES)
    _check_count("folders of kernels", len(kernels.folders), MAX_FOLDERS)
    _check_count("kernels", len(kernels.files), MAX_FILES)
    _check_count("bridges", len(bridges.names), MAX_BRIDGES)
    return HostHoldings(
        images=_images(images.images) if facts.HasField("images") else None,
        more_images=images.more,
        kernel_folders=_usable(_PATH, kernels.folders),
        kernel_files=_usable(_PATH, kernels.files),
        bridges=_usable(_BRIDGE, bridges.names) if facts.HasField("bridges") else None,
        more_bridges=bridges.more,
        fetches_images=facts.fetches_images,
        gives_images=facts.gives_images,
        clones=facts.clones.possible if facts.HasField("clones") else None,
    )


def told_holdings(held: HostHoldings) -> types.HostFacts:
    """As the host told it, without what else it told."""
    facts = types.HostFacts()
    if held.images is not None:
        facts.images.SetInParent()
        for one in held.images:
            facts.images.images.add(name=one.name, snapshot=one.snapshot, digest=one.digest)
        facts.images.more = held.more_images
    if held.kernel_folders:
        facts.kernels.folders.extend(held.kernel_folders)
        facts.kernels.files.extend(held.kernel_files)
    if held.bridges is not None:
        facts.bridges.SetInParent()
        facts.bridges.names.extend(held.bridges)
        facts.bridges.more = held.more_bridges
    facts.fetches_images, facts.gives_images = held.fetches_images, held.gives_images
    if held.clones is not None:
        facts.clones.possible = held.clones
    return facts


def _check_count(what: str, count: int, most: int) -> None:
    if count > most:
        raise Refused(Reason.BAD_ANNOUNCE, f"a host names at most {most} {what}, not {count:,}")


def _images(told: Iterable[types.Image]) -> tuple[HeldImage, ...]:
    held = {
        HeldImage(one.name, one.snapshot, one.digest)
        for one in told
        if _COMPONENT.fullmatch(one.name)
        and _COMPONENT.fullmatch(one.snapshot)
        and _DIGEST.fullmatch(one.digest)
    }
    return tuple(sorted(held))


def _usable(pattern: re.Pattern[str], told: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({one for one in told if pattern.fullmatch(one)}))
