"""What is said to qemu-guest-agent to write a file and read it back, and read of what it says.

A file is written under another name beside its path, and put in its place when it is whole.
"""

from __future__ import annotations

import base64
import binascii

from fleet_agent.core.guest_commands.agent_messages import (
    BadReply,
    request,
    returned,
    returned_value,
    script_request,
)

# Exit codes of the scripts, which no shell has by itself.
IS_FOLDER_CODE, NO_FOLDER_CODE, READ_ONLY_CODE = 41, 42, 43
_MOST_HANDLE = 1 << 63
# $0 is the path, $1 the other name. -C: only where nothing of that name is there.
_PREPARE = (
    f'[ ! -d "$0" ] || exit {IS_FOLDER_CODE};[ -d "${{0%/*}}/" ] || exit {NO_FOLDER_CODE};'
    f'umask 077;set -C;(: >"$1") 2>/dev/null || exit {READ_ONLY_CODE}'
)
_PLACE = '[ ! -d "$0" ] && chmod "$2" "$1" && mv -f "$1" "$0"'
_TAKE_AWAY = 'rm -f "$1"'


def beside(path: str, nonce: str) -> str:
    return f"{path[: path.rindex('/')]}/.fleet-copy-{nonce}"


def prepare_request(path: str, part: str) -> str:
    """The file of that other name, empty and for nobody else to read."""
    return script_request(_PREPARE, path, part)


def place_request(path: str, part: str, mode: int) -> str:
    return script_request(_PLACE, path, part, f"{mode:o}")


def take_away_request(path: str, part: str) -> str:
    return script_request(_TAKE_AWAY, path, part)


def open_request(path: str, *, writing: bool) -> str:
    return request("guest-file-open", {"path": path, "mode": "r+" if writing else "r"})


def write_request(handle: int, data: bytes) -> str:
    encoded = base64.b64encode(data).decode()
    return request("guest-file-write", {"handle": handle, "buf-b64": encoded})


def flush_request(handle: int) -> str:
    return request("guest-file-flush", {"handle": handle})


def close_request(handle: int) -> str:
    return request("guest-file-close", {"handle": handle})


def read_request(handle: int, count: int) -> str:
    return request("guest-file-read", {"handle": handle, "count": count})


def size_request(handle: int) -> str:
    """Goes to the end of the file, which says where that is."""
    return request("guest-file-seek", {"handle": handle, "offset": 0, "whence": 2})


def rewind_request(handle: int) -> str:
    return request("guest-file-seek", {"handle": handle, "offset": 0, "whence": 0})


def handle_of(reply: str) -> int:
    """Raises BadReply."""
    handle = returned_value(reply)
    if type(handle) is not int or not -_MOST_HANDLE <= handle < _MOST_HANDLE:
        raise BadReply("its guest agent opens no file")
    return handle


def position_of(reply: str) -> int:
    """Raises BadReply."""
    position = returned(reply).get("position")
    if type(position) is not int or not 0 <= position < _MOST_HANDLE:
        raise BadReply("its guest agent does not say where it is in a file")
    return position


def written_of(reply: str, asked: int) -> int:
    """How many bytes of so many it has taken. Raises BadReply."""
    count = returned(reply).get("count")
    if type(count) is not int or not 0 < count <= asked:
        raise BadReply("its guest agent does not write what it is given")
    return count


def read_of(reply: str, asked: int) -> tuple[bytes, bool]:
    """What it has read, at most so much, and whether that was the end. Raises BadReply."""
    told = returned(reply)
    data, ended = told.get("buf-b64"), told.get("eof") is True
    if not isinstance(data, str) or len(data) > 2 * asked + 8:
        raise BadReply("its guest agent reads nothing back")
    try:
        read = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadReply("its guest agent reads nothing back") from error
    if len(read) > asked or not (read or ended):
        raise BadReply("its guest agent reads back what was not asked")
    return read, ended
