"""Records of the store that nobody understands: which keys, and why.

One takes its own fleet or host out, and nothing else; see `state`. It is mended by writing or
deleting its key.
"""

from __future__ import annotations

from collections.abc import Iterator

from fleet_controller.core.refusals import Reason, Refused
from fleet_controller.store import keys

# Kept of why: a value may be of any length.
_LONGEST = 300
# Of the others, when one is told in full.
_NAMED, _LONGEST_KEY = 8, 80


class BrokenRecords:
    """By key. The mirror writes it."""

    def __init__(self) -> None:
        self._why: dict[str, str] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._why

    def __len__(self) -> int:
        return len(self._why)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._why))

    def why(self, key: str) -> str:
        """As a sentence that names the key; empty: it is understood, or not there."""
        return self._why.get(key, "")

    def in_words(self) -> str:
        """Why the first of them is, and the keys of some more."""
        first, *others = self
        more = ", ".join(key[:_LONGEST_KEY] for key in others[:_NAMED])
        more += f" and {len(others) - _NAMED:,} more" if len(others) > _NAMED else ""
        return f"{self.why(first)}; also {more}" if more else self.why(first)

    def refuse(self, key: str) -> None:
        """For a change of what the key holds. Raises Refused."""
        if key in self._why:
            raise Refused(
                Reason.BROKEN_RECORD, f"{self._why[key]}; mend or delete it in the store first"
            )

    def refuse_fleet(self, name: str) -> None:
        """For a change of the fleet. Raises Refused."""
        self.refuse(keys.fleet(name))

    def why_no_schedule(self, uid: str) -> str:
        """Why nothing is carried out of the fleet's schedule; empty: it is."""
        why = self.why(keys.schedule(uid))
        return f"its schedule is not followed, until it is scaled by hand: {why}" if why else ""

    # ---- for the mirror ------------------------------------------------------------------

    def note(self, key: str, why: str) -> None:
        self._why[key] = why[:_LONGEST]

    def forget(self, key: str) -> None:
        """It is understood, or gone."""
        self._why.pop(key, None)
