"""Ends a call that has said nothing for too long: a stopped server keeps its connections."""

from __future__ import annotations

import threading
import time

import grpc


class Silence:
    """Watches one call, from its beginning to `over`. `broken` once it has been ended for this."""

    def __init__(self, call: grpc.RpcContext, seconds: float) -> None:
        self.broken = False
        self._call = call
        self._seconds = seconds
        self._heard = time.monotonic()
        self._over = threading.Event()
        threading.Thread(target=self._watch, daemon=True, name="silence").start()

    def heard(self) -> None:
        self._heard = time.monotonic()

    def over(self) -> None:
        self._over.set()

    def _watch(self) -> None:
        while (rest := self._heard + self._seconds - time.monotonic()) > 0:
            if self._over.wait(rest):
                return
        self.broken = True
        self._call.cancel()
