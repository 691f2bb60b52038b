"""What is said to qemu-guest-agent, and read of what it says: JSON, and nothing of it is believed
but what concerns its own guest.

https://www.qemu.org/docs/master/interop/qemu-ga-ref.html
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Any

import msgspec

from fleet.guest_commands.answers import Answer
from fleet.v1 import commands_pb2 as wire

# Both outputs are one, nothing is read, and all that is begun is one group, to be ended as one.
_RUN = (
    'exec </dev/null 2>&1;if [ -n "$1" ];then exec setsid su "$1" -c "$0";fi;exec setsid sh -c "$0"'
)
# As shells tell it of a process that a signal has ended.
_SIGNALLED = 128


class BadReply(Exception):
    """A guest's agent says what none says; one sentence."""


def ping_request() -> str:
    """Changes nothing, and is answered by whatever agent there is."""
    return request("guest-ping", {})


def run_request(line: str, user: str) -> str:
    arguments = {"path": "/bin/sh", "arg": ["-c", _RUN, line, user], "capture-output": True}
    return request("guest-exec", arguments)


def status_request(pid: int) -> str:
    return request("guest-exec-status", {"pid": pid})


def script_request(script: str, *words: str) -> str:
    """A shell runs the script; words are $0, $1 and so on."""
    return request("guest-exec", {"path": "/bin/sh", "arg": ["-c", script, *words]})


def end_request(pid: int) -> str:
    """Ends all that the command has begun."""
    arguments = {"path": "/bin/sh", "arg": ["-c", f"kill -KILL -{pid} || kill -KILL {pid}"]}
    return request("guest-exec", arguments)


def pid_of(reply: str) -> int:
    """Raises BadReply."""
    pid = returned(reply).get("pid")
    if type(pid) is not int or not 1 < pid < 1 << 31:
        raise BadReply("its guest agent begins no process")
    return pid


def answer_of_status(reply: str, most: int) -> Answer | None:
    """None while it goes on. Raises BadReply."""
    told = returned(reply)
    if told.get("exited") is not True:
        return None
    code, signal, data = told.get("exitcode"), told.get("signal"), told.get("out-data", "")
    if type(signal) is int:
        code = _SIGNALLED + signal
    if type(code) is not int or not isinstance(data, str):
        raise BadReply("its guest agent tells no exit code")
    try:
        output = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadReply("its guest agent tells no output") from error
    # An agent keeps the first 16 MiB; what is beyond is not counted.
    more = 1 if told.get("out-truncated") is True else 0
    return Answer(
        wire.COMMAND_OUTCOME_ENDED,
        min(max(code, 0), 255),
        output[:most],
        len(output) + more,
        hashlib.sha256(output).digest(),
    )


def request(execute: str, arguments: dict[str, Any]) -> str:
    return msgspec.json.encode({"execute": execute, "arguments": arguments}).decode()


def returned(reply: str) -> dict[str, Any]:
    """Raises BadReply."""
    told = returned_value(reply)
    if not isinstance(told, dict):
        raise BadReply("its guest agent refuses")
    return told


def returned_value(reply: str) -> object:
    """Raises BadReply."""
    try:
        told = msgspec.json.decode(reply)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadReply("its guest agent does not answer in JSON") from error
    return told.get("return") if isinstance(told, dict) else None
