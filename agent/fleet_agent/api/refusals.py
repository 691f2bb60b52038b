"""What each refusal of the agent is on the wire: a status, and a reason for machines."""

from __future__ import annotations

import grpc

from fleet.guest_commands.answers import BadCommand
from fleet.term_claims import term_metadata
from fleet.transport import Refusal
from fleet_agent.api.console import BadConsoleInput
from fleet_agent.api.console_sessions import TooManyReaders
from fleet_agent.api.doctor import BadRequest, HostBusy
from fleet_agent.api.guest_files import TooManyCopies
from fleet_agent.core.assignment import BadAssignment
from fleet_agent.core.images import BadImage
from fleet_agent.dom0.doctor import TuningError
from fleet_agent.drivers.ports import images
from fleet_agent.drivers.ports.consoles import NoSuchVm
from fleet_agent.drivers.ports.errors import DriverError
from fleet_agent.drivers.ports.guest_files import NotTaken
from fleet_agent.drivers.ports.image_content import NotReadable, WrongChunk
from fleet_agent.image_relay.relay import NotAReader
from fleet_agent.image_relay.relays import BadUpload, OtherContent, UploadBusy
from fleet_agent.reconcile.fencing import StaleEpoch, StaleTerm, WrongHost
from fleet_agent.reconcile.ledger import LedgerError, LedgerFull
from fleet_agent.upgrading import port as upgrading


class NotOffered(Exception):
    """This agent does not offer the RPC."""


# The first row that fits counts.
REFUSALS: tuple[tuple[type[Exception], grpc.StatusCode, str], ...] = (
    (StaleTerm, grpc.StatusCode.FAILED_PRECONDITION, "STALE_TERM"),
    (StaleEpoch, grpc.StatusCode.FAILED_PRECONDITION, "STALE_EPOCH"),
    (WrongHost, grpc.StatusCode.FAILED_PRECONDITION, "WRONG_HOST"),
    (BadAssignment, grpc.StatusCode.INVALID_ARGUMENT, "BAD_ASSIGNMENT"),
    (LedgerFull, grpc.StatusCode.UNAVAILABLE, "LEDGER_FULL"),
    (LedgerError, grpc.StatusCode.UNAVAILABLE, "LEDGER_FAILED"),
    (NoSuchVm, grpc.StatusCode.NOT_FOUND, "NO_SUCH_VM"),
    (BadConsoleInput, grpc.StatusCode.INVALID_ARGUMENT, "BAD_CONSOLE_INPUT"),
    (BadCommand, grpc.StatusCode.INVALID_ARGUMENT, "BAD_COMMAND"),
    (TooManyReaders, grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_READERS"),
    (TooManyCopies, grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_COPIES"),
    (NotTaken, grpc.StatusCode.DEADLINE_EXCEEDED, "NOT_TAKEN"),
    (BadRequest, grpc.StatusCode.INVALID_ARGUMENT, "BAD_REQUEST"),
    (HostBusy, grpc.StatusCode.DEADLINE_EXCEEDED, "HOST_BUSY"),
    (TuningError, grpc.StatusCode.FAILED_PRECONDITION, "TUNING_RECORD"),
    (BadImage, grpc.StatusCode.INVALID_ARGUMENT, "BAD_IMAGE"),
    (images.NoSuchImage, grpc.StatusCode.NOT_FOUND, images.NoSuchImage.reason),
    (images.BadSource, grpc.StatusCode.INVALID_ARGUMENT, images.BadSource.reason),
    (images.PoolFull, grpc.StatusCode.RESOURCE_EXHAUSTED, images.PoolFull.reason),
    (images.NotAnImage, grpc.StatusCode.FAILED_PRECONDITION, images.NotAnImage.reason),
    (images.ImageInUse, grpc.StatusCode.FAILED_PRECONDITION, images.ImageInUse.reason),
    (images.ImageExists, grpc.StatusCode.FAILED_PRECONDITION, images.ImageExists.reason),
    (images.ImageMismatch, grpc.StatusCode.FAILED_PRECONDITION, images.ImageMismatch.reason),
    (images.ToolMissing, grpc.StatusCode.FAILED_PRECONDITION, images.ToolMissing.reason),
    (WrongChunk, grpc.StatusCode.INVALID_ARGUMENT, WrongChunk.reason),
    (NotReadable, grpc.StatusCode.FAILED_PRECONDITION, NotReadable.reason),
    (NotAReader, grpc.StatusCode.FAILED_PRECONDITION, "NOT_A_READER"),
    (UploadBusy, grpc.StatusCode.FAILED_PRECONDITION, UploadBusy.reason),
    (BadUpload, grpc.StatusCode.INVALID_ARGUMENT, BadUpload.reason),
    (OtherContent, grpc.StatusCode.FAILED_PRECONDITION, OtherContent.reason),
    (upgrading.BadRelease, grpc.StatusCode.INVALID_ARGUMENT, upgrading.BadRelease.reason),
    (upgrading.UpgradeNotSet, grpc.StatusCode.FAILED_PRECONDITION, upgrading.UpgradeNotSet.reason),
    (
        upgrading.UpgradeUnderWay,
        grpc.StatusCode.FAILED_PRECONDITION,
        upgrading.UpgradeUnderWay.reason,
    ),
    (upgrading.UpgradeError, grpc.StatusCode.FAILED_PRECONDITION, upgrading.UpgradeError.reason),
    (images.ImageError, grpc.StatusCode.INTERNAL, images.ImageError.reason),
    (DriverError, grpc.StatusCode.UNAVAILABLE, "DRIVER_FAILED"),
)


def refusal_of(error: Exception) -> Refusal:
    """How an error of ours is told to the caller. Others are raised again: they are defects."""
    if isinstance(error, Refusal):
        return error
    heard = term_metadata(error.heard) if isinstance(error, StaleTerm) else None
    for kind, code, reason in REFUSALS:
        if isinstance(error, kind):
            return Refusal(code, reason, str(error), heard)
    raise error
