"""What is kept of people and of roles."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated

import msgspec

from fleet_controller.core.model import Long

ALL = "*"
_PATTERN = r"[A-Za-z0-9*?][A-Za-z0-9._*?-]{0,62}"
_FLEETS = re.compile(_PATTERN)
MOST_GRANTS = 100  # of one person


class PersonRole(StrEnum):
    """Each may what those before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


class Grant(msgspec.Struct, frozen=True):
    """A role on the fleets whose names match the pattern; on all of them it is on the cluster."""

    role: PersonRole
    fleets: Annotated[str, msgspec.Meta(pattern=f"^{_PATTERN}$")] = ALL

    def __str__(self) -> str:
        return f"{self.role} on {'all' if self.fleets == ALL else self.fleets}"


class Quota(msgspec.Struct, frozen=True, omit_defaults=True):
    """Over the fleets that somebody owns. None: no bound."""

    vms: Long | None = None
    memory_bytes: Long | None = None


NO_BOUND = Quota()


class PersonRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """Somebody who is named by certificates. `since`: of the last change, seconds since 1970.
    `problem`: the store's record does not read, so that nothing is allowed; it is never written."""

    name: str
    grants: Annotated[tuple[Grant, ...], msgspec.Meta(max_length=MOST_GRANTS)] = ()
    quota: Quota = NO_BOUND
    actor: str = ""
    since: float = 0.0
    problem: str = ""


class RoleRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """What binds those of a role who have no bound of their own. `problem`: as of a person."""

    role: str
    quota: Quota = NO_BOUND
    problem: str = ""


def is_fleet_pattern(text: str) -> bool:
    """Whether a grant may say so."""
    return bool(_FLEETS.fullmatch(text))
