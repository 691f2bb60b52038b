"""Which kind of failure QEMU's last words tell of. Pure."""

from __future__ import annotations

import re

# What none of the words tells.
UNEXPLAINED = "hypervisor_error"
_KINDS = (
    ("no_memory", r"cannot allocate memory|out of memory"),
    ("network", r"\btap\b|tun|network|bridge|netdev"),
    ("disk", r"drive|could not open .*(?:disk|image)|\block\b|blk"),
    ("kernel", r"kernel|initrd|linux"),
)
_PATTERNS = tuple((kind, re.compile(words, re.IGNORECASE)) for kind, words in _KINDS)


def start_kind(words: str) -> str:
    return next((kind for kind, pattern in _PATTERNS if pattern.search(words)), UNEXPLAINED)
