"""What the file of a seed is called: whose it is, as a mark says it, so that no seed of another
birth is ever taken for a VM's."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fleet.keys import Kin
from fleet_agent.core.model import Batch

SUFFIX = ".iso"
_NAME = re.compile(
    r"[a-z0-9-]+-(?P<index>[0-9]{1,8})\.(?P<uid>[0-9a-f-]{36})\.(?P<generation>[0-9]{1,10})"
    r"\.(?P<birth>[0-9]{1,19})\.iso"
)


@dataclass(frozen=True, slots=True)
class SeedName:
    """Whose a seed is."""

    kin: Kin
    index: int


def seed_file_name(batch: Batch, index: int) -> str:
    """Raises ValueError for a fleet whose uid is none."""
    kin = batch.kin
    name = f"{batch.fleet.domain_name(index)}.{kin.fleet_uid}.{kin.generation}.{kin.birth}{SUFFIX}"
    if not _NAME.fullmatch(name):
        raise ValueError(f"{batch.fleet.domain_name(index)} is of a fleet whose uid is none")
    return name


def read_seed_name(file_name: str) -> SeedName | None:
    """None for whatever is no seed of ours."""
    found = _NAME.fullmatch(file_name)
    if found is None:
        return None
    kin = Kin(found["uid"], int(found["generation"]), int(found["birth"]))
    return SeedName(kin, int(found["index"]))
