"""What any port may raise, and the errno values that mean a full disk."""

from __future__ import annotations

import errno

# No room: on the disk, or within a quota.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class DriverError(Exception):
    """The driver as a whole cannot work (libvirtd gone, pool missing); one sentence.
    The caller retries later; nothing about any VM follows from it."""


def first_error(errors: BaseException) -> BaseException:
    """The error itself, or the first one in a group of groups of them."""
    while isinstance(errors, BaseExceptionGroup):
        errors = errors.exceptions[0]
    return errors
