"""What fuzzed bytes are as a message, before any of ours looks at it."""

from __future__ import annotations

from google.protobuf.message import DecodeError, Message


def parses(data: bytes, message: Message) -> bool:
    """Whether the bytes are one of its kind; then it says what they do."""
    try:
        message.ParseFromString(data)
    except DecodeError:
        return False
    return True
