"""The controllers as they name themselves, kept beside the ledger: addresses change without anybody
touching the host.

Each that was named is tried for a week after it was named last: it may be away for a while. Those
of the host's own settings are tried after them, always.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
import structlog

from fleet.endpoints import BadEndpoint, dialled
from fleet.private_file import replace_private

log = structlog.get_logger()

FILE = "controllers.json"
KEPT_SECONDS = 7 * 86_400.0
# That one was named again is written down no more often.
WRITTEN_SECONDS = 86_400.0
MOST = 16


def after_told(known: Mapping[str, float], told: Iterable[str], now: float) -> dict[str, float]:
    """When each was named last, newest first; what nobody can dial is left out, as is what was
    named too long ago, or is too many."""
    named = dict.fromkeys(filter(_is_endpoint, list(told)[:MOST]), now)
    # A clock that was set back must not let old ones stand above all others for ever.
    before = {at: min(when, now) for at, when in known.items() if now - when < KEPT_SECONDS}
    rest = sorted((at for at in before if at not in named), key=lambda at: -before[at])
    return named | {at: before[at] for at in rest[: MOST - len(named)]}


class KnownControllers:
    """`file`: where they are kept; None: nowhere, as of a hollow host."""

    def __init__(
        self, file: Path | None, configured: Sequence[str], wall_clock: Callable[[], float]
    ) -> None:
        self._file = file
        self._configured = tuple(configured)
        self._wall_clock = wall_clock
        self._known = stored(file) if file else {}

    @property
    def endpoints(self) -> list[str]:
        return list(dict.fromkeys([*self._known, *self._configured]))

    def told(self, controllers: Sequence[str]) -> bool:
        """By a controller. Whether there are others now."""
        if not controllers:
            return False
        before, now = self._known, self._wall_clock()
        self._known = after_told(before, controllers, now)
        others = list(self._known) != list(before)
        stale = any(now - before.get(at, 0.0) > WRITTEN_SECONDS for at in self._known)
        if others or stale:
            self._save()
        else:
            self._known = before
        return others

    def _save(self) -> None:
        """A few hundred bytes, seldom."""
        if self._file is None:
            return
        try:
            save(self._file, self._known)
        except OSError as error:
            log.warning("the controllers are not remembered", error=str(error))


def stored(file: Path) -> dict[str, float]:
    """Empty where there are none, or the file is no such file: it is written anew."""
    try:
        known = msgspec.json.decode(file.read_bytes(), type=dict[str, float])
    except (OSError, msgspec.MsgspecError):
        return {}
    return {at: when for at, when in list(known.items())[:MOST] if _is_endpoint(at)}


def save(file: Path, known: Mapping[str, float]) -> None:
    """Raises OSError."""
    replace_private(file, msgspec.json.encode(dict(known)))


def _is_endpoint(text: str) -> bool:
    try:
        return dialled(text) == text
    except BadEndpoint:
        return False
