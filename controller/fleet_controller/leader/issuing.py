"""What a leadership signs with, as it sees it."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from fleet.certificates.signing_request import SigningRequest
from fleet.v1 import joining_pb2 as joining


class Issuer(Protocol):
    """Signs certificates of hosts."""

    @property
    def authorities(self) -> bytes:
        """PEM: what hosts are to trust."""

    @property
    def days(self) -> float:
        """How long what it signs is good."""

    @property
    def trust(self) -> joining.Trust: ...

    def issue(self, request: SigningRequest, now: datetime) -> bytes:
        """PEM. Raises CannotIssue."""
