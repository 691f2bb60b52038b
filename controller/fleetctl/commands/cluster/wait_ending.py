"""How a wait has ended, told as text or JSON, and as the exit code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fleetctl.outcome import ExitCode, Failed, FailedForGood, NotConverged, Trouble, Unreachable
from fleetctl.output import duration, say, say_json
from fleetctl.session import Session
from megafleet.conditions import Condition

_OUTCOMES: dict[type[Trouble], str] = {
    NotConverged: "not_converged",
    FailedForGood: "failed_for_good",
    Unreachable: "unreachable",
    Failed: "failed",
}


@dataclass(frozen=True, slots=True)
class Ended:
    """`text`: how it stands; `trouble`: None when it is so; `shown`: what was seen last, for
    JSON."""

    name: str
    condition: Condition
    text: str
    seconds: float
    trouble: Trouble | None
    shown: dict[str, Any]

    def tell(self, session: Session) -> int:
        """The exit code; raises the trouble."""
        if session.json:
            say_json(self._json())
        elif self.trouble is None:
            say(f"{self.text} (after {duration(self.seconds)})")
        if self.trouble is not None:
            raise self.trouble
        return ExitCode.DONE

    def _json(self) -> dict[str, Any]:
        outcome = _OUTCOMES[type(self.trouble)] if self.trouble else "done"
        return {
            "name": self.name,
            "for": self.condition.value,
            "outcome": outcome,
            "message": self.trouble.message if self.trouble else "",
            "elapsed_seconds": round(self.seconds, 3),
            **self.shown,
        }
