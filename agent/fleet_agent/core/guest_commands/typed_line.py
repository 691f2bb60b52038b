"""A command as it is typed at the console of a guest, between two marks that its shell prints.

A console shows what is typed as well as what is printed. The marks begin with a character that is
typed by its number alone (`\\043`), so no echo of the line is ever a mark, wherever a terminal
breaks it; and they hold a number that nobody knew before, so nothing printed earlier is one.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass

# What the line editor of a small shell holds; more would be dropped without a word.
LONGEST_TYPED = 1000
# Ends what somebody has begun to type there.
_KILL_LINE = "\x15"
INTERRUPT = b"\x03"


class CannotBeTyped(Exception):
    """The command does not go through a console; one sentence."""


@dataclass(frozen=True, slots=True)
class Marks:
    """`nonce`: of this command in this guest, from a good source of randomness."""

    nonce: str

    @property
    def begin(self) -> bytes:
        return f"#mf{self.nonce}:".encode()

    @property
    def end(self) -> bytes:
        """Before the exit code."""
        return f"#mf{self.nonce}=".encode()

    def line(self, command: str, user: str) -> bytes:
        """What is typed. Raises CannotBeTyped."""
        if any(not one.isprintable() for one in command):
            raise CannotBeTyped(
                "a console takes a command of one line, without tabs; there is no guest agent"
            )
        # The first space keeps it out of the history of most shells.
        line = (
            f"{_KILL_LINE} printf '\\n\\043mf%s:\\n' {self.nonce};"
            f"{_run(shlex.quote(command), user)} </dev/null 2>&1;"
            f"printf '\\n\\043mf%s=%d.\\n' {self.nonce} $?\n"
        ).encode()
        if len(line) > LONGEST_TYPED:
            most = LONGEST_TYPED - (len(line) - len(command.encode()))
            raise CannotBeTyped(
                f"a console takes a command of about {most:,} bytes; there is no guest agent"
            )
        return line


def _run(quoted: str, user: str) -> str:
    if not user:
        return f"sh -c {quoted}"
    if user == "root":  # whoever is on a console is, mostly; small guests know no users at all
        root = 'if [ "$(id -u)" = 0 ];then sh -c "$c";else su root -c "$c";fi'
        return f"(c={quoted};{root})"
    return f"su {user} -c {quoted}"
