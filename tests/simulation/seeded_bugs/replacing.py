"""How a mistake is made in the real classes, and taken back."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any


@dataclass(frozen=True, slots=True)
class Replaced:
    """`name` of `owner`, a class or a module, is `wrong` instead."""

    owner: Any
    name: str
    wrong: Any


def wrong(right: Callable[..., Any], by: Any, *, seen_in: ModuleType | None = None) -> Replaced:
    """`right` is named by reference, so that whoever renames or removes it hears of it here.
    `seen_in`: the module that calls it by a name of its own, where that is not its home.

    Raises LookupError where the owner has it not.
    """
    owner: Any = seen_in or sys.modules[right.__module__]
    if seen_in is None:
        for part in right.__qualname__.split(".")[:-1]:
            owner = getattr(owner, part)
    for name, value in vars(owner).items():
        if value is right:
            return Replaced(owner, name, by)
    raise LookupError(f"{owner} does not have {right.__qualname__}")


@dataclass(frozen=True, slots=True)
class SeededBug:
    """`stress`: actions that there are many of where the mistake shows in few plays; `controllers`:
    as Shape has it."""

    name: str
    where: tuple[Replaced, ...]
    stress: tuple[str, ...] = ()
    controllers: int = 0

    @contextmanager
    def made(self) -> Iterator[None]:
        """Inside it the product has the mistake."""
        before = [(one.owner, one.name, vars(one.owner)[one.name]) for one in self.where]
        for one in self.where:
            setattr(one.owner, one.name, one.wrong)
        try:
            yield
        finally:
            for owner, name, right in before:
                setattr(owner, name, right)
