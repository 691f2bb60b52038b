"""What is told of an answer that is still being waited for."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol, TypeAlias


class WaitingSign(AbstractContextManager["WaitingSign"], Protocol):
    """From its making until it is closed, somebody waits."""

    def close(self) -> None:
        """May be called again."""


class NoSign:
    """Tells nobody."""

    def __enter__(self) -> NoSign:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def close(self) -> None:
        pass


# Of a call whose answer a replica may keep back for so many seconds, as it was asked to.
Waiting: TypeAlias = Callable[[float], WaitingSign]


def no_sign(answer_delay: float) -> WaitingSign:
    return NoSign()
