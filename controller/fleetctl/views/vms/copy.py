"""What became of a file that was copied into VMs, or of those that were copied out of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fleet.guest_commands.answers import Answer
from fleet.ranges import IndexSet
from fleet.v1 import commands_pb2 as commands
from fleet.v1 import copies_pb2 as wire
from fleetctl.output import byte_text, counted
from fleetctl.views.vms.run import RunResult, end_json, group_json, progress_text, summary_text

if TYPE_CHECKING:
    from fleetctl.local.files_from_vms import FileFromVm

_CHANGED = "it changed while it was read"


@dataclass(slots=True)
class FilesResult(RunResult):
    """Of files copied out of VMs: those without one are told by the controller, the others here."""

    _numbers: dict[Answer, int] = field(default_factory=dict)

    def put(self, answer: Answer, index: int) -> IndexSet:
        """What has become of one that has come."""
        number = self._numbers.setdefault(answer, -1 - len(self._numbers))
        self._answers[number] = answer
        self._ranges.setdefault(number, []).append((index, index + 1))
        return IndexSet.of((index,))

    @property
    def vms_told(self) -> int:
        return sum(len(indices) for _, indices in self.groups())

    @property
    def all_well(self) -> bool:
        copied = all(
            one.outcome == commands.COMMAND_OUTCOME_COPIED for one in self._answers.values()
        )
        return copied and self.vms_told == self.vms


def copied_json(answer: Answer, indices: IndexSet) -> dict[str, Any]:
    whole = group_json(answer, indices)
    return {key: whole[key] for key in ("event", "vms", "indices", "outcome", "sha256", "reason")}


def copies_json(result: RunResult, file: wire.CopiedFile, seconds: float) -> dict[str, Any]:
    """The last one."""
    whole = end_json(result, seconds)
    del whole["exit_codes"]
    return whole | {"path": file.path, "bytes": file.size, "sha256": file.digest.hex()}


def answer_of_file(file: FileFromVm) -> Answer:
    if file.reason:
        return Answer.failed(file.reason)
    reason = _CHANGED if file.changed else ""
    return Answer(commands.COMMAND_OUTCOME_COPIED, reason=reason)


def begun_text(result: RunResult, file: wire.WantedFile, folder: str) -> str:
    """Before any of it has come."""
    each, most = byte_text(file.most_bytes), byte_text(file.most_bytes * result.vms)
    where = f"{counted(result.vms, 'VM')} on {counted(result.hosts, 'host')}"
    return f"{where}: at most {each} of each, {most} in all, into {folder}"


def files_progress_text(result: RunResult, come: int) -> str:
    return f"{progress_text(result)}, {byte_text(come)}"


def files_summary_text(result: RunResult, folder: str, come: int, seconds: float) -> str:
    return f"{summary_text(result, seconds)}; {byte_text(come)} into {folder}"


def begun_json(result: RunResult, file: wire.WantedFile) -> dict[str, Any]:
    return {
        "event": "begun",
        "vms": result.vms,
        "hosts": result.hosts,
        "path": file.path,
        "most_bytes": file.most_bytes,
        "most_bytes_in_all": file.most_bytes * result.vms,
    }


def file_json(file: FileFromVm, fleet: str) -> dict[str, Any]:
    """One that is here."""
    return {
        "event": "file",
        "vm": f"{fleet}-{file.index}",
        "index": file.index,
        "file": file.path,
        "bytes": file.size,
        "sha256": file.digest.hex(),
        "changed": file.changed,
    }


def files_json(
    result: RunResult, file: wire.WantedFile, folder: str, come: int, seconds: float
) -> dict[str, Any]:
    """The last one."""
    whole = end_json(result, seconds)
    del whole["exit_codes"]
    return whole | {"path": file.path, "folder": folder, "bytes": come}
