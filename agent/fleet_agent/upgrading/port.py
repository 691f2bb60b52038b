"""The port by which an agent is brought to another release."""

from __future__ import annotations

from typing import Protocol


class UpgradeError(Exception):
    """It is not upgraded; one sentence."""

    reason = "UPGRADE_FAILED"


class UpgradeNotSet(UpgradeError):
    """The settings name no command for it."""

    reason = "UPGRADE_NOT_SET"


class UpgradeUnderWay(UpgradeError):
    """It is being brought to another release than the one asked for."""

    reason = "UPGRADE_UNDER_WAY"


class BadRelease(UpgradeError):
    """What is asked for is not the name of a release."""

    reason = "BAD_RELEASE"


class Upgrades(Protocol):
    """Of one host."""

    @property
    def version(self) -> str:
        """That runs."""

    async def upgrade(self, version: str) -> None:
        """Return when the host has done what it does for it; it goes on when the caller goes.
        Raises UpgradeError."""
