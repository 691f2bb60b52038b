"""Proofs of what leaders of this store have said: made for agents, and checked where they hand
them back.

An agent cannot check a seal, and cannot make one. The key is in the store, so whoever proves
anything has heard it from a leader of this store, or of what it was restored from.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Annotated

import msgspec

from fleet.keys import Epoch, Term
from fleet.v1 import types_pb2 as types

_KEY_BYTES = 32
# Of a seal. A guess is right once in 2^128, and every guess costs its host a link.
_SEAL_BYTES = 16


class SealKey(msgspec.Struct, frozen=True):
    """What all seals of a store are made with."""

    key: Annotated[str, msgspec.Meta(pattern=f"^[0-9a-f]{{{2 * _KEY_BYTES}}}$")]


def new_seal_key() -> SealKey:
    return SealKey(secrets.token_hex(_KEY_BYTES))


class Seals:
    """Of one store. Without a key it makes none, and nothing is proven."""

    def __init__(self, key: SealKey | None) -> None:
        self._key = bytes.fromhex(key.key) if key else b""

    def term(self, term: Term) -> types.Term:
        """The term as agents are told it."""
        message = term.message()
        message.seal = self._seal("term", "", *term)
        return message

    def epoch(self, host: str, epoch: Epoch) -> types.Epoch:
        """The epoch of the host's assignment as the host is told it."""
        message = epoch.message()
        message.seal = self._seal("epoch", host, *epoch)
        return message

    def assignment(self, host: str, epoch: Epoch, data: bytes) -> bytes:
        """The seal of an assignment of this epoch, serialised as `data`."""
        return self._seal("assignment", host, *epoch, data)

    def prove_term(self, term: types.Term) -> bool:
        """Whether a leader of this store has led in this term."""
        return self._proves(term.seal, "term", "", *Term.of(term))

    def prove_epoch(self, host: str, epoch: types.Epoch) -> bool:
        """Whether a leader of this store has given the host an assignment of this epoch."""
        return self._proves(epoch.seal, "epoch", host, *Epoch.of(epoch))

    def prove_assignment(self, host: str, epoch: Epoch, data: bytes, seal: bytes) -> bool:
        """Whether a leader of this store has given the host this very assignment."""
        return self._proves(seal, "assignment", host, *epoch, data)

    def _proves(
        self, seal: bytes, kind: str, host: str, generation: int, revision: int, data: bytes = b""
    ) -> bool:
        made = self._seal(kind, host, generation, revision, data)
        return bool(made) and hmac.compare_digest(made, seal)

    def _seal(
        self, kind: str, host: str, generation: int, revision: int, data: bytes = b""
    ) -> bytes:
        if not self._key:
            return b""
        head = f"{kind}\0{host}\0{generation}\0{revision}\0".encode()
        whole = head + hashlib.sha256(data).digest()
        return hmac.digest(self._key, whole, "sha256")[:_SEAL_BYTES]
