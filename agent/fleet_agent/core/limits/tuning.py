"""What tuning would change: failing limits turned into live acts, files of our own, and words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum

from fleet_agent.core.limits.remedies import (
    BLOCK_SCRIPT,
    KeptLine,
    LiveAct,
    RaiseFiles,
    Remedy,
    SwitchBlockScript,
    WriteValue,
)
from fleet_agent.core.limits.verdicts import Verdict

HEADER = "# Written by 'fleetctl tune --apply'; 'fleetctl tune --undo' takes it away.\n"


class ChangeKind(IntEnum):
    """Values are those of fleet.v1.TuneChange.Kind."""

    LIVE = 1
    PERSISTENT = 2
    REBOOT = 3


@dataclass(frozen=True, slots=True)
class OwnFile:
    """The whole text of a file that is ours."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class LimitChange:
    """One thing to change. `act` is None for what people do."""

    limit: str
    kind: ChangeKind
    what: str
    after: str
    act: LiveAct | OwnFile | None = None


def tuning(verdicts: Iterable[Verdict], own_files: Mapping[str, str]) -> tuple[LimitChange, ...]:
    """Changes that make failing limits pass: live ones, then files, then what needs people.

    `own_files` are the texts of our files as they are: their other lines are kept.
    """
    failing = [(one.limit.name, one.remedy) for one in verdicts if one.remedy is not None]
    live = [_live(name, act) for name, remedy in failing for act in remedy.live]
    return (*live, *_files(failing, own_files), *_by_people(failing))


def _live(limit: str, act: LiveAct) -> LimitChange:
    match act:
        case WriteValue(path, value):
            return LimitChange(limit, ChangeKind.LIVE, path, value, act)
        case RaiseFiles(process, files):
            what = f"open files of the running {process}"
            return LimitChange(limit, ChangeKind.LIVE, what, str(files), act)
        case SwitchBlockScript():
            return LimitChange(limit, ChangeKind.LIVE, BLOCK_SCRIPT, "our fast path", act)


def _files(
    failing: Iterable[tuple[str, Remedy]], own_files: Mapping[str, str]
) -> Iterable[LimitChange]:
    wanted: dict[str, dict[str, str]] = {}
    limits: dict[str, list[str]] = {}
    for limit, remedy in failing:
        for line in remedy.kept:
            held = wanted.setdefault(line.file, {})
            held[line.key] = _stronger(line, held.get(line.key))
            limits.setdefault(line.file, []).append(limit)
    for path, lines in wanted.items():
        text = own_text(path, {**lines_of(own_files.get(path, "")), **lines})
        after = "; ".join(lines.values())
        limit = ", ".join(dict.fromkeys(limits[path]))
        yield LimitChange(limit, ChangeKind.PERSISTENT, path, after, OwnFile(path, text))


def _stronger(line: KeptLine, other: str | None) -> str:
    """Of two lines with one key, as when two daemons live in one unit: the larger value."""
    if other is None:
        return line.text
    return max(other, line.text, key=lambda text: (_value(text), text))


def _value(text: str) -> int:
    value = text.rpartition("=")[2].strip()
    return int(value) if value.isdecimal() else 0


def lines_of(text: str) -> dict[str, str]:
    """The lines of a file that tuning wrote, by key. A udev rule is its own key, and so is a line
    that sets nothing by name."""
    lines = (line.strip() for line in text.splitlines())
    kept = [line for line in lines if line and line[0] not in "#["]
    return {_key(line): line for line in kept}


def _key(line: str) -> str:
    return line if "==" in line or "=" not in line else line.rpartition("=")[0].strip()


def own_text(path: str, lines: Mapping[str, str]) -> str:
    """A whole file. A drop-in's lines belong to its unit's section [Service]."""
    section = "[Service]\n" if path.startswith("/etc/systemd/") else ""
    return HEADER + section + "".join(f"{lines[key]}\n" for key in sorted(lines))


def _by_people(failing: Iterable[tuple[str, Remedy]]) -> Iterable[LimitChange]:
    for limit, remedy in failing:
        if remedy.by_tune and not remedy.reboot:
            continue
        what = remedy.file or "by hand"
        after = f"{remedy.line}; {remedy.then}" if remedy.then else remedy.line
        yield LimitChange(limit, ChangeKind.REBOOT, what, after)
