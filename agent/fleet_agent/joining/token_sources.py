"""Where a token comes from: a file, or the kernel's command line of a machine booted for this.

    megafleet.token=TOKEN megafleet.controllers=HOST:PORT,... [megafleet.name=NAME]

Everybody on the machine can read the command line: such a token should be good for few uses, a
short while, and the network of the machines that boot so.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from fleet.certificates.join_token import BadToken, JoinToken
from fleet.endpoints import BadEndpoint, dialled

COMMAND_LINE = Path("/proc/cmdline")
STDIN = Path("-")
_PREFIX = "megafleet."
_LONGEST = 64 * 1024


class NoToken(Exception):
    """A token, or where to join, cannot be found or read; one sentence, without the token."""


@dataclass(frozen=True, slots=True)
class Invitation:
    """`controllers`: HOST:PORT at which machines join. `name`: empty: the machine's own."""

    token: JoinToken
    controllers: tuple[str, ...]
    name: str = ""


def token_in(file: Path) -> JoinToken:
    """From stdin where the file is `-`: ssh hands over a socket, which has no name to be opened by.
    Raises NoToken."""
    where = "stdin" if file == STDIN else str(file)
    try:
        with sys.stdin.buffer if file == STDIN else open(file, "rb") as opened:
            text = opened.read(_LONGEST).decode("ascii", "replace")
    except OSError as error:
        raise NoToken(f"{where} cannot be read: {error.strerror}") from error
    try:
        return JoinToken.parse(text)
    except BadToken as bad:
        raise NoToken(f"{where}: {bad}") from None


def on_command_line(text: str) -> Invitation | None:
    """From the kernel's command line; None where it has no token. Raises NoToken."""
    words = (word.partition("=") for word in text.split() if word.startswith(_PREFIX))
    given = {key.removeprefix(_PREFIX): value for key, _, value in words}
    if "token" not in given:
        return None
    try:
        token = JoinToken.parse(given["token"])
    except BadToken as bad:
        raise NoToken(f"{_PREFIX}token of the kernel's command line: {bad}") from None
    return Invitation(token, endpoints(given.get("controllers", "")), given.get("name", ""))


def is_invited(text: str) -> bool:
    """Whether the kernel's command line has a token, good or bad."""
    return any(word.startswith(f"{_PREFIX}token=") for word in text.split())


def endpoints(text: str) -> tuple[str, ...]:
    """From HOST:PORT,... Raises NoToken."""
    if not text:
        raise NoToken(
            "at which controllers to join is not said: --controllers HOST:PORT,..., or "
            f"{_PREFIX}controllers= beside the token on the kernel's command line"
        )
    try:
        return tuple(map(dialled, text.split(",")))
    except BadEndpoint as bad:
        raise NoToken(str(bad)) from None


def kernel_command_line() -> str:
    try:
        return COMMAND_LINE.read_text("ascii", "replace")[:_LONGEST]
    except OSError:
        return ""
