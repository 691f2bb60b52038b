"""What a guest is told of itself over its port, line by line: docs/clones.md."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence

# What the guest says once it waits, and once it has become who it was told to be.
WAITING, TAKEN = b"waiting\n", b"taken\n"
SEED_BYTES = 64
# A guest reads so much at most.
MOST_BYTES = 8000
# A guest says so much at most, of which so much is kept.
MOST_SAID, _KEPT = 64 * 1024, 256


class TooMuchSaid(Exception):
    """A guest goes on saying what nobody asked for."""


class Heard:
    """What a guest has said over its port since somebody listened."""

    def __init__(self) -> None:
        self._end = b""
        self._bytes = 0

    def add(self, data: bytes) -> None:
        """Raises TooMuchSaid."""
        self._bytes += len(data)
        if self._bytes > MOST_SAID:
            raise TooMuchSaid(f"its guest has said more than {MOST_SAID:,} bytes over its port")
        self._end = (self._end + data)[-_KEPT - len(data) :]

    def has(self, word: bytes) -> bool:
        return word in self._end

    def answered(self) -> None:
        """Nothing of what was said is to be answered again."""
        self._end = b""


def identity_message(
    name: str,
    index: int,
    machine: uuid.UUID,
    macs: Sequence[str],
    values: Mapping[str, str],
    *,
    seed: bytes,
    clock_ns: int,
) -> bytes:
    """`values`: what else it is told, by key. Raises ValueError for what does not fit in lines."""
    lines = {
        "name": name,
        "index": str(index),
        "machine_id": machine.hex,
        "seed": seed.hex(),
        "clock": str(clock_ns),
        **{f"mac{number or ''}": mac for number, mac in enumerate(macs)},
        **values,
    }
    for key, value in lines.items():
        if any(ord(character) < 32 for character in value):
            raise ValueError(f"the {key} of {name} holds a control character")
    text = "".join(f"{key}={value}\n" for key, value in lines.items()) + "\n"
    if len(text.encode()) > MOST_BYTES:
        raise ValueError(f"what {name} is told of itself is longer than {MOST_BYTES:,} bytes")
    return text.encode()


def split_words(cmdline: str) -> tuple[str, str]:
    """A command line as one for all, and the words that each VM has of its own: those in which a
    placeholder stands."""
    common: list[str] = []
    own: list[str] = []
    for word in cmdline.split():
        (own if "{" in word.replace("{{", "") else common).append(word)
    return " ".join(common), " ".join(own)
