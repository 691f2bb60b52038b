"""What any port may raise, what becomes of all else, and the errno values that mean a full disk."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

log = structlog.get_logger()

# No room: on the disk, or within a quota.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class DriverError(Exception):
    """The driver as a whole cannot work (libvirtd gone, pool missing); one sentence.
    The caller retries later; nothing about any VM follows from it."""


def told_defect(call: str, error: Exception) -> str:
    """Log the trace of what no port may raise, and one sentence about it for people. Bindings
    raise such: SystemError, UnicodeDecodeError. It is a defect of one driver, and no reason for
    the agent to end."""
    log.error("a driver raised what no port may", call=call, exc_info=error)
    kind = type(error).__name__
    return (
        f"{call} ended in a defect of the driver ({kind}: {error}); the agent's log has its trace"
    )


@contextmanager
def as_driver_errors(call: str, *allowed: type[Exception]) -> Iterator[None]:
    """A port's call: what it may not raise becomes a DriverError. `allowed`: what this port raises
    besides."""
    try:
        yield
    except DriverError:
        raise
    except Exception as error:
        if isinstance(error, allowed):
            raise
        raise DriverError(told_defect(call, error)) from error


def first_error(errors: BaseException) -> BaseException:
    """The error itself, or the first one in a group of groups of them."""
    while isinstance(errors, BaseExceptionGroup):
        errors = errors.exceptions[0]
    return errors
