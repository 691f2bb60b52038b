"""What may go wrong with a cluster, as errors: each is one sentence for people, and the reason word
of the wire for programs.

    MegafleetError
      InvalidArgument      what was given cannot be meant: it was not asked of any controller
      Failed               not done, or not possible here
        Refused            by the cluster, which says so; `reason` is its word, such as NO_CAPACITY
        Superseded         what was waited for is no longer wanted: somebody has changed it since
      Unreachable          no controller answers, or it does not let us
        NotAllowed         it does not let us: certificates, roles, people's rights
        Unavailable        none answers at the moment: another try may succeed
          NoAnswer         the deadline passed: a change may or may not have been done
      NotConverged         accepted and still going on
      FailedForGood        accepted, and what is missing waits for somebody to change something
"""

from __future__ import annotations


class MegafleetError(Exception):
    """Anything that goes wrong with a cluster. Texts of it are safe to show on a terminal."""

    def __init__(self, message: str, *, reason: str = "") -> None:
        """`reason` is the controller's stable, machine-readable one; empty when not from it."""
        super().__init__(message)
        self.message = message
        self.reason = reason

    def __reduce__(self) -> tuple[object, ...]:
        """Errors cross processes: the reason is no argument by position."""
        return _made_again, (type(self), self.message, self.reason)


class InvalidArgument(MegafleetError):
    """What was given cannot be meant."""


class Failed(MegafleetError):
    """Refused, or not possible."""


class Refused(Failed):
    """By the cluster."""


class Superseded(Failed):
    """What was waited for is not wanted any more."""


class Unreachable(MegafleetError):
    """No controller answers, or it does not let us."""


class NotAllowed(Unreachable):
    """A controller does not let us, or we do not trust it."""


class Unavailable(Unreachable):
    """No controller answers at the moment: another try may succeed."""


class NoAnswer(Unavailable):
    """The deadline passed: what was asked for may or may not have been done."""


class NotConverged(MegafleetError):
    """Accepted and still going on."""


class FailedForGood(MegafleetError):
    """Accepted, and what is missing waits for somebody to change something."""


def _made_again(kind: type[MegafleetError], message: str, reason: str) -> MegafleetError:
    return kind(message, reason=reason)
