"""Carries out what tuning decided, remembers what was before, and brings it back.

A change that fails says why, and the rest goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from fleet_agent.core.limits.dom0_facts import Process
from fleet_agent.core.limits.remedies import BLOCK_SCRIPT, RaiseFiles, SwitchBlockScript, WriteValue
from fleet_agent.core.limits.tuning import ChangeKind, LimitChange, OwnFile
from fleet_agent.dom0.block_script import BlockScript, CannotSwitch
from fleet_agent.dom0.host_tree import HostTree
from fleet_agent.dom0.host_writes import CannotChange, HostWrites, SetFiles, prlimit
from fleet_agent.dom0.tuning_record import FilesBefore, TuningRecord, TuningRecordFile

Processes = Mapping[str, Process]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a change. `before` is what is, or was, there."""

    change: LimitChange
    before: str
    done: bool = False
    error: str = ""


class Tuner:
    """Blocking; one call at a time."""

    def __init__(
        self, tree: HostTree, record: TuningRecordFile, set_files: SetFiles = prlimit
    ) -> None:
        self._tree = tree
        self._record = record
        self._writes = HostWrites(tree, set_files)
        self._script = BlockScript(tree)

    def preview(self, changes: Iterable[LimitChange], processes: Processes) -> tuple[Outcome, ...]:
        """Each change and what is there now; nothing is changed."""
        return tuple(Outcome(one, self._before(one, processes)) for one in changes)

    def apply(self, changes: Iterable[LimitChange], processes: Processes) -> tuple[Outcome, ...]:
        """Raises TuningError when what is there now cannot be remembered."""
        previewed = self.preview(changes, processes)
        record = self._record.load()
        for one in previewed:
            self._remember(record, one.change, processes)
        self._record.save(record)
        outcomes = tuple(
            _tried(one.change, one.before, partial(self._act, one.change, processes))
            if one.change.act is not None
            else one
            for one in previewed
        )
        self._writes.reload(one.change.what for one in outcomes if one.done)
        return outcomes

    def undo(self) -> tuple[Outcome, ...]:
        """Everything that was ever applied; what fails stays in the record. Raises TuningError."""
        record = self._record.load()
        outcomes = tuple(self._restore(record))
        self._record.save(record)
        self._writes.reload(one.change.what for one in outcomes if one.done)
        return outcomes

    # Looking ------------------------------------------------------------------------------

    def _before(self, change: LimitChange, processes: Processes) -> str:
        match change.act:
            case WriteValue(path):
                return (self._tree.text_or_none(path) or "").strip()
            case RaiseFiles(name):
                return str(processes[name].files) if name in processes else ""
            case OwnFile(path):
                return "there" if self._tree.at(path).exists() else "absent"
            case SwitchBlockScript():
                return self._script.describe()
        return ""

    def _remember(self, record: TuningRecord, change: LimitChange, processes: Processes) -> None:
        """The first original counts; a daemon that was restarted since is another process."""
        match change.act:
            case WriteValue(path):
                if path not in record.values and (text := self._tree.text_or_none(path)):
                    record.values[path] = text.strip()
            case OwnFile(path):
                if path not in record.files:
                    record.files[path] = self._tree.text_or_none(path)
                folder = path.rpartition("/")[0]
                if not self._tree.at(folder).exists() and folder not in record.folders:
                    record.folders.append(folder)
            case RaiseFiles(name) if name in processes:
                self._remember_files(record, name, processes[name].pid)
            case SwitchBlockScript():
                record.block_script = True

    def _remember_files(self, record: TuningRecord, name: str, pid: int) -> None:
        known, started = record.daemons.get(name), self._writes.started(pid)
        if known is not None and (known.pid, known.started) == (pid, started):
            return
        try:
            soft, hard = self._writes.set_files(pid, None)
        except OSError:
            return  # raising it will say why
        record.daemons[name] = FilesBefore(pid, started, soft, hard)

    # Changing -----------------------------------------------------------------------------

    def _act(self, change: LimitChange, processes: Processes) -> None:
        match change.act:
            case WriteValue(path, value):
                self._writes.value(path, value)
            case OwnFile(path, text):
                self._writes.file(path, text)
            case RaiseFiles(name, files):
                if name not in processes:
                    raise CannotChange(f"{name} is not running")
                self._writes.raise_files(processes[name].pid, files)
            case SwitchBlockScript():
                self._script.install()

    # Bringing back ------------------------------------------------------------------------

    def _restore(self, record: TuningRecord) -> Iterator[Outcome]:
        """What is done leaves the record."""
        for path, value in tuple(record.values.items()):
            before = (self._tree.text_or_none(path) or "").strip()
            act = partial(self._writes.value, path, value)
            yield (outcome := _tried(_undone(path, value), before, act))
            if outcome.done:
                del record.values[path]
        for name, held in tuple(record.daemons.items()):
            yield (outcome := self._restore_files(name, held))
            if outcome.done:
                del record.daemons[name]
        yield from self._restore_own(record)

    def _restore_files(self, name: str, held: FilesBefore) -> Outcome:
        what = f"open files of the running {name}"
        if self._writes.started(held.pid) != held.started:
            return Outcome(_undone(what, "its own: it was restarted since"), "", done=True)
        act = partial(self._writes.set_files, held.pid, (held.soft, held.hard))
        return _tried(_undone(what, str(held.soft)), "", act)

    def _restore_own(self, record: TuningRecord) -> Iterator[Outcome]:
        for path, text in tuple(record.files.items()):
            there = "there" if self._tree.at(path).exists() else "absent"
            change = _undone(path, "absent" if text is None else "as it was", kept=True)
            yield (outcome := _tried(change, there, partial(self._writes.file, path, text)))
            if outcome.done:
                del record.files[path]
        for folder in tuple(record.folders):
            outcome = _tried(
                _undone(folder, "absent"), "", partial(self._writes.drop_folder, folder)
            )
            if outcome.done or not any(one.startswith(f"{folder}/") for one in record.files):
                record.folders.remove(folder)  # others have put something there: it stays
        if record.block_script:
            change = _undone(BLOCK_SCRIPT, "Xen's own script")
            yield (outcome := _tried(change, self._script.describe(), self._script.remove))
            record.block_script = not outcome.done


def _undone(what: str, after: str, *, kept: bool = False) -> LimitChange:
    kind = ChangeKind.PERSISTENT if kept else ChangeKind.LIVE
    return LimitChange("", kind, what, after)


def _tried(change: LimitChange, before: str, act: Callable[[], object]) -> Outcome:
    try:
        act()
    except OSError as error:
        return Outcome(change, before, error=error.strerror or str(error))
    except (CannotSwitch, CannotChange) as error:
        return Outcome(change, before, error=str(error))
    return Outcome(change, before, done=True)
