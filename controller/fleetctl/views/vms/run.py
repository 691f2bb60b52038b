"""What VMs answered to a command: gathered, as lines for people, as objects for scripts.

Whatever a guest prints is content from elsewhere: on a terminal nothing of it steers anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from fleet.guest_commands.answers import Answer, BadAnswer, answer_of
from fleet.ranges import IndexSet
from fleet.v1 import commands_pb2 as wire
from fleet.wire_ranges import from_wire
from fleetctl.outcome import Failed, printable
from fleetctl.output import byte_text, counted, duration

_ALL_OUTCOMES = frozenset(wire.CommandOutcome.values())
_NAMES = {
    value: name.removeprefix("COMMAND_OUTCOME_").lower()
    for name, value in wire.CommandOutcome.items()
}
# Of a group, as many characters of its indices.
_RANGES_SHOWN = 40
_MOST_OUTPUT = 1 << 20


@dataclass(slots=True)
class RunResult:
    """Of one command, as far as it is known. `seconds`: what each VM had. `sent`: SHA-256 of the
    file, where one is copied instead."""

    fleet: str
    seconds: float
    sent: bytes = b""
    vms: int = 0
    vms_done: int = 0
    hosts: int = 0
    hosts_done: int = 0
    silent_hosts: list[str] = field(default_factory=list)
    _answers: dict[int, Answer] = field(default_factory=dict)
    _ranges: dict[int, list[tuple[int, int]]] = field(default_factory=dict)

    def add(self, said: wire.RunInFleetAnswer) -> list[tuple[Answer, IndexSet]]:
        """What it says anew. Raises Failed where that makes no sense."""
        self.vms, self.vms_done = said.vms, said.vms_done
        self.hosts, self.hosts_done = said.hosts, said.hosts_done
        self.silent_hosts += said.silent_hosts
        return [self._add(group) for group in said.groups]

    def _add(self, group: wire.OutcomeGroup) -> tuple[Answer, IndexSet]:
        try:
            if group.HasField("text"):
                answer = answer_of(group.text, _MOST_OUTPUT, _ALL_OUTCOMES)
                self._answers[group.number] = answer
            answer, indices = self._answers[group.number], from_wire(group.indices)
        except (BadAnswer, KeyError, ValueError) as error:
            raise Failed(f"the controller's answer cannot be understood: {error}") from error
        self._ranges.setdefault(group.number, []).extend(indices.ranges)
        return answer, indices

    def groups(self) -> list[tuple[Answer, IndexSet]]:
        """Equal answers together, those of the most VMs first."""
        found = [(self._answers[number], IndexSet(some)) for number, some in self._ranges.items()]
        return sorted(found, key=lambda one: (-len(one[1]), one[1].first))

    @property
    def all_well(self) -> bool:
        """Whether every VM has answered, with the exit code 0, or with the file that was sent."""
        return self.vms_done == self.vms and all(map(self._is_well, self._answers.values()))

    def _is_well(self, answer: Answer) -> bool:
        if self.sent:
            return answer.outcome == wire.COMMAND_OUTCOME_COPIED and answer.digest == self.sent
        return answer.outcome == wire.COMMAND_OUTCOME_ENDED and not answer.exit_code


def progress_text(result: RunResult) -> str:
    hosts = f"{result.hosts_done:,} of {counted(result.hosts, 'host')}"
    return f"{result.vms_done:,} of {counted(result.vms, 'VM')} have answered, {hosts}"


def groups_text(result: RunResult) -> str:
    """A line for VMs that answered alike, or a few."""
    groups = result.groups()
    return "\n".join(
        _group_text(answer, indices, result, named=number > 0)
        for number, (answer, indices) in enumerate(groups)
    )


def _group_text(answer: Answer, indices: IndexSet, result: RunResult, *, named: bool) -> str:
    """`named`: with the indices, where these are few."""
    which, text = "", str(indices)
    if named:
        shown = text if len(text) <= _RANGES_SHOWN else f"{text[:_RANGES_SHOWN]}..."
        which = f" ({result.fleet}-{shown})" if len(indices) == 1 else f" ({shown})"
    code = f", exit {answer.exit_code}" if answer.exit_code else ""
    head = f"{counted(len(indices), 'VM')}{which}{code}:"
    lines = _lines(answer, result.seconds)
    if len(lines) == 1:
        return f"{head} {lines[0]}"
    return "\n".join([head, *(f"  {line}" for line in lines)])


def _lines(answer: Answer, seconds: float) -> list[str]:
    if answer.others:
        return ["other outputs, which differ too much to be kept"]
    if answer.outcome != wire.COMMAND_OUTCOME_ENDED:
        return [_why(answer, seconds)]
    text = printable(answer.output.decode("utf-8", "replace").replace("\r\n", "\n"))
    lines = [line.replace("\\t", "    ").rstrip() for line in text.rstrip("\n").split("\n")]
    if not any(lines):
        lines = ["no output"]
    if answer.is_cut:
        whole = f"{byte_text(answer.total)}, SHA-256 {answer.digest.hex()[:16]}"
        lines.append(f"... cut after {byte_text(len(answer.output))} of {whole}")
    return lines


def _why(answer: Answer, seconds: float) -> str:
    reason = f": {answer.reason}" if answer.reason else ""
    match answer.outcome:
        case wire.COMMAND_OUTCOME_NO_ANSWER:
            return f"no answer in {duration(seconds)}{reason}"
        case wire.COMMAND_OUTCOME_NO_SHELL:
            return f"no shell answers on its console{reason}"
        case wire.COMMAND_OUTCOME_CONSOLE_TAKEN:
            return answer.reason or "another session types at its console"
        case wire.COMMAND_OUTCOME_HOST_SILENT:
            return "its host does not answer"
        case wire.COMMAND_OUTCOME_UNPLACED:
            return "it is on no host"
        case wire.COMMAND_OUTCOME_COPIED:
            what = f", SHA-256 {answer.digest.hex()[:16]}" if answer.digest else ""
            return f"copied{what}{reason}"
        case wire.COMMAND_OUTCOME_NO_AGENT:
            return "has no guest agent that answers"
    return answer.reason or "it failed"


def summary_text(result: RunResult, seconds: float) -> str:
    """The last line, beside the result."""
    counts = _counts(result.groups())
    parts = ", ".join(f"{count:,} {what}" for what, count in counts.items())
    missing = result.vms - result.vms_done
    left = f", {missing:,} not asked to the end" if missing > 0 else ""
    where = f"{counted(result.vms, 'VM')} on {counted(result.hosts, 'host')}"
    return f"{where} in {duration(seconds)}: {parts or 'none answered'}{left}"


def _counts(groups: Iterable[tuple[Answer, IndexSet]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for answer, indices in groups:
        ended = answer.outcome == wire.COMMAND_OUTCOME_ENDED
        what = f"exit {answer.exit_code}" if ended else _NAMES[answer.outcome].replace("_", " ")
        counts[what] = counts.get(what, 0) + len(indices)
    return counts


def group_json(answer: Answer, indices: IndexSet) -> dict[str, Any]:
    ended = answer.outcome == wire.COMMAND_OUTCOME_ENDED
    return {
        "event": "answered",
        "vms": len(indices),
        "indices": str(indices),
        "outcome": _NAMES.get(answer.outcome, "unknown"),
        "exit_code": answer.exit_code if ended else None,
        "output": answer.output.decode("utf-8", "replace") if ended and not answer.others else None,
        "output_bytes": answer.total if ended and not answer.others else None,
        "cut": answer.is_cut or answer.others,
        "sha256": answer.digest.hex() or None,
        "reason": answer.reason,
    }


def end_json(result: RunResult, seconds: float) -> dict[str, Any]:
    groups = result.groups()
    outcomes: dict[str, int] = {}
    codes: dict[str, int] = {}
    for answer, indices in groups:
        name = _NAMES.get(answer.outcome, "unknown")
        outcomes[name] = outcomes.get(name, 0) + len(indices)
        if answer.outcome == wire.COMMAND_OUTCOME_ENDED:
            code = str(answer.exit_code)
            codes[code] = codes.get(code, 0) + len(indices)
    return {
        "event": "done",
        "fleet": result.fleet,
        "vms": result.vms,
        "vms_done": result.vms_done,
        "hosts": result.hosts,
        "answers": len(groups),
        "outcomes": outcomes,
        "exit_codes": codes,
        "silent_hosts": result.silent_hosts,
        "seconds": round(seconds, 3),
    }
