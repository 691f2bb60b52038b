"""A call on which both sides speak: what is said, kept until a replica takes the call, and what is
answered.

What is said comes from one iterator that can be read once; replicas that do not take the call
must not swallow any of it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

import grpc

from fleet.transport import TAKEN_METADATA

Q = TypeVar("Q")
A = TypeVar("A")


class Said(Generic[Q]):
    """What is said, read from its source by a thread of its own from the first hearing on."""

    def __init__(self, source: Iterable[Q]) -> None:
        self._source = source
        self._kept: deque[Q] = deque()
        self._dropped = 0  # how many were said before the first one kept
        self._over = False
        self._taken = False
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True, name="said")

    def hearing(self) -> Hearing[Q]:
        """All of it from the beginning. One at a time."""
        if not self._reader.ident:
            self._reader.start()
        return Hearing(self)

    def taken(self) -> None:
        """Nobody else need hear it: what was heard is kept no longer."""
        self._taken = True

    def after(self, heard: int, is_closed: Callable[[], bool]) -> Q:
        """The one after so many. Raises StopIteration at the end, and for one that is closed."""
        with self._changed:
            self._changed.wait_for(
                lambda: is_closed() or self._over or heard < self._dropped + len(self._kept)
            )
            if is_closed() or heard >= self._dropped + len(self._kept):
                raise StopIteration
            said = self._kept[heard - self._dropped]
            if self._taken:
                while self._dropped <= heard:
                    self._kept.popleft()
                    self._dropped += 1
            return said

    def wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _read(self) -> None:
        try:
            for one in self._source:
                with self._changed:
                    self._kept.append(one)
                    self._changed.notify_all()
        finally:
            self._over = True
            self.wake()


class Hearing(Generic[Q]):
    """What one call sends."""

    def __init__(self, said: Said[Q]) -> None:
        self._said = said
        self._heard = 0
        self._closed = False

    def __iter__(self) -> Hearing[Q]:
        return self

    def __next__(self) -> Q:
        one = self._said.after(self._heard, lambda: self._closed)
        self._heard += 1
        return one

    def close(self) -> None:
        self._closed = True
        self._said.wake()


class NotTaken(Exception):
    """The replica did not take the call; `silent`: it did not answer at all in time."""

    def __init__(self, error: grpc.RpcError, silent: bool) -> None:
        super().__init__(str(error))
        self.error = error
        self.silent = silent


class Conversation(Generic[A]):
    """One call that a replica has taken: iterate over what it answers; `cancel` from any thread
    ends that without an error."""

    def __init__(
        self, call: Any, hearing: Hearing[Any], first: list[A], said: Callable[[Any], Exception]
    ) -> None:
        """`said`: how an error of the call is told."""
        self._call = call
        self._hearing = hearing
        self._first = first
        self._told = said
        self._cancelled = False

    def __iter__(self) -> Iterator[A]:
        return self

    def __next__(self) -> A:
        if self._first:
            return self._first.pop()
        try:
            return next(self._call)  # type: ignore[no-any-return]
        except StopIteration:
            self._hearing.close()
            raise
        except grpc.RpcError as error:
            self._hearing.close()
            if self._cancelled:
                raise StopIteration from None
            raise self._told(error) from error
        except BaseException:  # Ctrl-C
            self.cancel()
            raise

    def cancel(self) -> None:
        self._cancelled = True
        self._call.cancel()
        self._hearing.close()


def opened(
    start: Callable[[Hearing[Q]], Any],
    said: Said[Q],
    seconds: float,
    told: Callable[[Any], Exception],
) -> Conversation[Any]:
    """The call begun at one replica, once that has taken it: it says so, or answers. Raises
    NotTaken; also after so many seconds without a word."""
    hearing = said.hearing()
    call = start(hearing)
    silent = threading.Event()

    def give_up() -> None:
        silent.set()
        call.cancel()

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
    try:
        first = [] if _is_taken(call) else [next(call)]
    except StopIteration:
        first = []
    except grpc.RpcError as error:
        hearing.close()
        raise NotTaken(error, silent.is_set()) from error
    except BaseException:  # Ctrl-C
        hearing.close()
        call.cancel()
        raise
    finally:
        timer.cancel()
    said.taken()
    return Conversation(call, hearing, first, told)


def _is_taken(call: Any) -> bool:
    return any(key == TAKEN_METADATA for key, _ in call.initial_metadata() or ())
