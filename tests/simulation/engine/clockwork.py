"""The loop on which a whole simulated fleet runs: one thread, one order, virtual time.

Every callback belongs to a simulated process (found in its context) or to the world. A process
can be stopped between any two of its callbacks, for a while or for good, and its clock may run
fast or slow or jump ahead. Time passes only when nothing is left to do.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any, TypeVar

T = TypeVar("T")

SPINS = 100_000  # callbacks between two timers: somebody waits for nothing
UNWINDINGS = 20
BEGINNING = 1000.0  # what the world's clock says at the start, in seconds


class Process:
    """One simulated process. Its monotonic clock says `rate` * the world's time + `ahead`."""

    __slots__ = (
        "ahead",
        "context",
        "countdown",
        "dead",
        "held",
        "left",
        "name",
        "on_doom",
        "rate",
        "runs",
    )

    def __init__(self, name: str, rate: float = 1.0) -> None:
        self.name = name
        self.rate = rate
        self.ahead = 0.0
        self.runs = True
        self.dead = False
        self.held: list[_Handle] = []  # what has come due while it was stopped
        self.left: list[_Task] = []  # tasks that it had when it was killed
        self.countdown = 0  # callbacks until `on_doom`; 0: none
        self.on_doom: Callable[[], None] | None = None
        self.context = contextvars.Context()
        self.context.run(PROCESS.set, self)


PROCESS: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


class _Handle:
    """What asyncio expects of a handle, and no more."""

    __slots__ = ("args", "callback", "cancelled_", "context", "when_")

    def __init__(
        self,
        callback: Callable[..., Any],
        args: tuple[Any, ...],
        context: contextvars.Context,
        when: float = 0.0,
    ) -> None:
        self.callback = callback
        self.args = args
        self.context = context
        self.when_ = when
        self.cancelled_ = False

    def cancel(self) -> None:
        self.cancelled_ = True

    def cancelled(self) -> bool:
        return self.cancelled_

    def when(self) -> float:
        return self.when_


class _Task(asyncio.Task[Any]):
    """Hashes by its number: the order of a set of tasks does not depend on addresses."""

    numbers = count()
    number: int
    process: Process | None

    def __new__(cls, *args: Any, context: contextvars.Context | None, **kwargs: Any) -> _Task:
        made = super().__new__(cls)
        made.number = next(_Task.numbers)
        made.process = PROCESS.get() if context is None else context.get(PROCESS)
        return made

    def __hash__(self) -> int:
        return self.number


class Stuck(AssertionError):
    """Every task waits for something that no timer will bring."""


class Clockwork(asyncio.BaseEventLoop):
    """`time()` is that of the process that asks; `now` the world's."""

    def __init__(self) -> None:
        super().__init__()
        _Task.numbers = count()
        self.now = BEGINNING
        self.steps = 0  # callbacks run so far
        self._spun = 0  # as of the last timer
        self.on_trouble: Callable[[str], None] = lambda text: None  # an exception nobody caught
        self._process: Process | None = None
        self._due: deque[_Handle] = deque()
        self._timers: list[tuple[float, int, _Handle]] = []
        self._numbers = count()
        self._world = contextvars.Context()
        self.set_exception_handler(_note_trouble)

    # What asyncio calls ---------------------------------------------------------------------

    def time(self) -> float:
        process = self._process
        return self.now if process is None else self.now * process.rate + process.ahead

    def call_soon(  # type: ignore[override]
        self, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> _Handle:
        handle = _Handle(callback, args, context or contextvars.copy_context())
        self._due.append(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> _Handle:
        process = self._process
        handle = _Handle(callback, args, context or contextvars.copy_context(), when)
        # A clock that runs at another rate must never say that a timer came too early.
        world = when if process is None else (when - process.ahead) / process.rate + 1e-8
        heapq.heappush(self._timers, (max(world, self.now), next(self._numbers), handle))
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> _Handle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def create_task(  # type: ignore[override]
        self,
        coro: Coroutine[Any, Any, T],
        *,
        name: object = None,
        context: contextvars.Context | None = None,
    ) -> asyncio.Task[T]:
        return _Task(coro, loop=self, name=name or "task", context=context)

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Any, *args: Any
    ) -> asyncio.Future[Any]:
        """Done at once, and known a moment later: there are no threads here."""
        future = self.create_future()
        self.call_soon(_compute, future, func, args)
        return future

    def _run_once(self) -> None:
        """One callback after the other until told to stop."""
        due, timers = self._due, self._timers
        of_process = PROCESS
        while not self._stopping:  # type: ignore[attr-defined]
            if due:
                handle = due.popleft()
            elif timers:
                self.now, _, handle = heapq.heappop(timers)
                self._spun = self.steps
            else:
                raise Stuck("nothing is left to do and no timer is set")
            if handle.cancelled_:
                continue
            process = handle.context.get(of_process)
            if process is not None and not process.runs:
                process.held.append(handle)
                continue
            self._process = process
            self.steps += 1
            if self.steps - self._spun > SPINS:
                self._spun = self.steps
                self.on_trouble(f"time stands still: {handle.callback} for ever")
            try:
                handle.context.run(handle.callback, *handle.args)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:
                self.on_trouble(f"{type(error).__name__}: {error}")
            if process is not None and process.countdown:
                _count_down(process)
        self._process = None

    def _process_events(self, event_list: Any) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody sleeps that could be woken."""

    # What the world calls -------------------------------------------------------------------

    def at(self, when: float, callback: Callable[..., Any], *args: Any) -> _Handle:
        """Call in the world's name at the world's time, whoever asks for it."""
        handle = _Handle(callback, args, self._world, when)
        heapq.heappush(self._timers, (max(when, self.now), next(self._numbers), handle))
        return handle

    def after(self, seconds: float, callback: Callable[..., Any], *args: Any) -> _Handle:
        """As `at`, in so many of the world's seconds."""
        return self.at(self.now + seconds, callback, *args)

    def spawn(self, process: Process, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A task of that process."""
        return self.create_task(work, context=process.context.copy())

    def stop_process(self, process: Process) -> None:
        """As SIGSTOP does: its clock goes on."""
        process.runs = False

    def resume_process(self, process: Process) -> None:
        """As SIGCONT does."""
        if not process.dead and not process.runs:
            process.runs = True
            held, process.held = process.held, []
            self._due.extend(held)

    def kill_process(self, process: Process) -> None:
        """As SIGKILL does: nothing of it runs again, not even what stands in a `finally`."""
        process.runs = False
        process.dead = True
        # Kept until the world ends: to forget a task would be to run its `finally` now.
        process.left = [task for task in self._tasks() if task.process is process]

    def _tasks(self) -> list[_Task]:
        tasks = [task for task in asyncio.all_tasks(self) if isinstance(task, _Task)]
        return sorted(tasks, key=lambda task: task.number)


def _compute(future: asyncio.Future[Any], func: Callable[..., Any], args: tuple[Any, ...]) -> None:
    if future.done():
        return
    try:
        future.set_result(func(*args))
    except Exception as error:
        future.set_exception(error)


def _count_down(process: Process) -> None:
    process.countdown -= 1
    if not process.countdown and process.on_doom is not None:
        process.on_doom()


def _note_trouble(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    assert isinstance(loop, Clockwork)
    error = context.get("exception")
    loop.on_trouble(f"{context.get('message')}: {error!r}")


def run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Until the coroutine ends. Whatever is left of processes by then is unwound: they run no
    further in the world, since the world is over."""
    loop = Clockwork()
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(main())
    finally:
        _unwind(loop)
        asyncio.set_event_loop(None)
        loop.close()


def _unwind(loop: Clockwork) -> None:
    # The world itself does nothing more.
    loop._due = deque(handle for handle in loop._due if handle.context is not loop._world)
    loop._timers = [timer for timer in loop._timers if timer[2].context is not loop._world]
    heapq.heapify(loop._timers)
    tasks = loop._tasks()
    for process in {id(task.process): task.process for task in tasks}.values():
        if process is None:
            continue
        process.countdown = 0
        if not process.runs:
            process.runs = True
            loop._due.extend(process.held)
    for _ in range(UNWINDINGS):
        if not tasks:
            break
        for task in tasks:
            task.cancel()
        loop.run_until_complete(_wait_for(tasks))
        tasks = loop._tasks()
    assert not tasks, f"{tasks[0]} cannot be cancelled"
    loop.run_until_complete(loop.shutdown_asyncgens())


async def _wait_for(tasks: list[_Task]) -> None:
    """A task may miss one cancellation: a TaskGroup forgets it where a child fails meanwhile."""
    done, _ = await asyncio.wait(tasks, timeout=10.0)
    for task in done:
        if not task.cancelled():
            task.exception()
