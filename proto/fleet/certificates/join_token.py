"""The one string by which a machine joins: which token, its secret, and whom to insist on.

`mft1.ID.SECRET.DIGEST`: lower-case letters and digits with dots, so that it can stand on a kernel's
command line, in a URL and in a shell without quotes.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass

KIND = "mft1"
ID_BYTES, SECRET_BYTES, DIGEST_BYTES = 5, 20, 32
ID = re.compile("[a-z2-7]{8}")
_TEXT = re.compile(rf"{KIND}\.([a-z2-7]{{8}})\.([a-z2-7]{{32}})\.([a-z2-7]{{52}})")


class BadToken(ValueError):
    """It is no token; one sentence, which does not repeat it."""


@dataclass(frozen=True, slots=True)
class JoinToken:
    """`authority`: SHA-256 of the certificate (DER) that has signed those of controllers."""

    id: str
    secret: bytes
    authority: bytes

    def __repr__(self) -> str:
        """Without the secret: tokens may come into logs."""
        return f"JoinToken({self.id})"

    @property
    def text(self) -> str:
        return f"{KIND}.{self.id}.{_letters(self.secret)}.{_letters(self.authority)}"

    @classmethod
    def parse(cls, text: str) -> JoinToken:
        """Raises BadToken."""
        found = _TEXT.fullmatch(text.strip())
        if found is None:
            raise BadToken(
                f"this is no token: one begins with '{KIND}.' and has "
                f"{len(KIND) + 8 + 32 + 52 + 3} characters (fleetctl tokens create)"
            )
        return cls(found[1], _bytes(found[2]), _bytes(found[3])[:DIGEST_BYTES])


def token_id(random: bytes) -> str:
    """The id of a token, from ID_BYTES random ones."""
    return _letters(random)


def hash_of(secret: bytes) -> str:
    """What is kept of a secret, which has too many bits to be guessed from it."""
    return hashlib.sha256(secret).hexdigest()


def _letters(data: bytes) -> str:
    return base64.b32encode(data).decode().rstrip("=").lower()


def _bytes(letters: str) -> bytes:
    return base64.b32decode(letters.upper() + "=" * (-len(letters) % 8))
