"""The ids of the changes that assignments follow from, beside the assignments: no decision sees
them."""

from __future__ import annotations

from sys import intern

from fleet_controller.core.model import Label
from fleet_controller.store.codec import BrokenRecord, decode

# Characters of one that is kept.
_LONGEST = 64


class AssignmentLabels:
    """By host id. Written by the mirror of the store alone."""

    def __init__(self) -> None:
        self._labels: dict[str, str] = {}

    def of(self, host_id: str) -> str:
        """Empty: not known."""
        return self._labels.get(host_id, "")

    def note(self, host_id: str, key: str, value: bytes | None) -> None:
        """An assignment was written, or deleted. What cannot be understood is no label."""
        self._labels.pop(host_id, None)
        try:
            change = decode(Label, key, value).change[:_LONGEST] if value is not None else ""
        except BrokenRecord:
            return
        if change:
            self._labels[host_id] = intern(change)
