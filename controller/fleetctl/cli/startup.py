"""Starts a short-lived process fast: what a command does not use is not loaded.

Measured with `python -X importtime`: grpc loads asyncio (14 ms, with ssl and subprocess) and
grpc.aio (6 ms, with typing_extensions) for everybody, and protobuf its pure-Python messages
although the compiled ones are in use. They are loaded here at the first use of anything in them.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
from types import ModuleType
from typing import Any

from fleetctl.outcome import ExitCode

_SELDOM_USED = ("asyncio", "grpc.aio", "google.protobuf.internal.python_message")
# The modules of one command make some 100,000 objects that all live until its end: collecting
# at each 700 of them costs a tenth of its time.
_GC_THRESHOLD = 50_000


class _Deferred(ModuleType):
    """Stands for a module until something in it is asked for."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


def prepare() -> None:
    """To be called first in the process, before grpc is imported."""
    gc.set_threshold(_GC_THRESHOLD, 10, 10)
    _open_standard_streams()
    # The C core writes its own account of failed connections to stderr; ours is enough.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    for name in _SELDOM_USED:
        sys.modules.setdefault(name, _Deferred(name))


def _open_standard_streams() -> None:
    """Whoever closed one does not want what it would say. Left closed, the next file or socket that
    is opened would be taken for it, and be written into."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            setattr(sys, name, open(number, mode, closefd=False))


def leave(code: int) -> None:
    """Ends the process at once: taking it apart would last 30 ms. Never returns."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # nobody reads it any more, or the disk is full
            code = code or ExitCode.OUTPUT_LOST
    os._exit(code)
