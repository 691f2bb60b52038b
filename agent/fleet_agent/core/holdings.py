"""What this host tells of what it has, so that only VMs come that can be made here: bounded, and
of what fleets can name. What does not fit is not told, and the host is believed to have it."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping

from fleet.v1 import types_pb2 as types
from fleet_agent.core.bridges import HostBridge
from fleet_agent.core.images import ImageName

# Controllers refuse more.
MAX_IMAGES = 64
MAX_FOLDERS = 16
MAX_FILES = 128
MAX_BRIDGES = 64

_PATH = re.compile(r"/[A-Za-z0-9._+/-]{1,254}")
_BRIDGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}")


def images_held(images: Iterable[tuple[ImageName, str]]) -> types.ImagesHeld:
    """`images`: with their digests, the newest first."""
    every = list(images)
    told = sorted(every[:MAX_IMAGES])
    return types.ImagesHeld(
        images=[
            types.Image(name=image.name, snapshot=image.snapshot, digest=digest)
            for image, digest in told
        ],
        more=len(every) > MAX_IMAGES,
    )


def kernels_held(files: Mapping[str, Iterable[str]]) -> types.KernelsHeld:
    """`files`: names by folder, of each folder that could be read. Folders that have too many are
    left out."""
    held = types.KernelsHeld()
    for folder in sorted(files)[:MAX_FOLDERS]:
        paths = sorted(posixpath.join(folder, name) for name in files[folder])
        usable = [path for path in paths if _PATH.fullmatch(path)]
        if len(held.files) + len(usable) <= MAX_FILES:
            held.folders.append(folder)
            held.files.extend(usable)
    return held


def bridges_held(bridges: Iterable[HostBridge]) -> types.BridgesHeld:
    """Those that the agent itself made are left out: a fleet that does not ask for one is not to
    depend on another that does."""
    names = sorted(one.name for one in bridges if not one.ours and _BRIDGE.fullmatch(one.name))
    return types.BridgesHeld(names=names[:MAX_BRIDGES], more=len(names) > MAX_BRIDGES)


def with_holdings(facts: types.HostFacts, told: types.HostFacts) -> types.HostFacts:
    """The facts, with the holdings as they were told."""
    made = types.HostFacts()
    made.CopyFrom(facts)
    for part in ("images", "kernels", "bridges"):
        made.ClearField(part)
        if told.HasField(part):
            getattr(made, part).CopyFrom(getattr(told, part))
    made.fetches_images, made.gives_images = told.fetches_images, told.gives_images
    return made
