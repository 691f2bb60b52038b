"""What is kept of tokens, and of hosts that have joined by them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec

from fleet.certificates.join_token import ID
from fleet_controller.core.model import Count

_Hash = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
_Id = Annotated[str, msgspec.Meta(pattern=f"^{ID.pattern}$")]


class TokenRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """By which machines may join. Of the secret there is no more than its SHA-256, in hex. Times
    are seconds since 1970. `names`, `networks`: none is any."""

    id: _Id
    hash: _Hash
    created: float
    expires: float
    max_uses: Count
    uses: Count = 0
    names: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    labels: Mapping[str, str] = {}
    approve: bool = False  # its hosts need no further approval
    actor: str = ""


class JoinedRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """A host that has joined, last by this token. `key`: SHA-256 of its public key, in hex: who
    asks again with the same one was not answered, and takes no further use."""

    host: str
    token: str
    key: _Hash
    at: float
    address: str = ""
    approved: bool = False
