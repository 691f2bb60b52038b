"""What fuzzing finds and is not mended yet. A line is taken out with what mends it; nothing else is
let pass."""

from __future__ import annotations

from collections.abc import Mapping

# By what is in a finding's kind: why it is still so.
KNOWN: Mapping[str, str] = {
    "UNKNOWN Unexpected <class 'google.protobuf.message.DecodeError'>": (
        "what is no message is parsed before anybody is asked who calls, and answered by a Python "
        "class"
    ),
    "UNKNOWN Unexpected <class 'ExceptionGroup'>": (
        "a later message of a stream that is none ends it in the same way"
    ),
    "parser stored spec: UnicodeDecodeError": (
        "a stored template that is no UTF-8 is not refused as a broken record"
    ),
}


def is_known(kind: str) -> str:
    """Why it is let pass; empty for what is not known."""
    return next((why for part, why in KNOWN.items() if part in kind), "")
