"""Why a domain did not start, from what libvirt says and from what its Xen driver's log adds.

libvirt's Xen driver answers "libxenlight failed to create new domain" whatever went wrong; the
reason stands in its log, in the words of libxl and libxc. Pure, but for reading that log's end.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from fleet_agent.core.limits.met import explained

# Kind, and the words of libvirt, libxl and libxc that tell it; the first row that fits counts.
# "segment kernel too large" and "count_pgtables" come from libxc's domain builder when the guest
# has too little memory for its own kernel: giving the host more memory would not help.
_KINDS = (
    ("kernel", r"segment \w+ too large|count_pgtables|xc_dom_(?!boot_mem)|failed to load kernel"),
    ("no_memory", r"not enough (?:free )?memory|out of memory|cannot allocate memory"),
    ("no_memory", r"failed to (?:free|balloon)|insufficient (?:free )?memory|boot_mem_init"),
    ("disk", r"cannot access (?:storage|backing) file"),
    ("disk", r"hotplug-scripts?/block|scripts/block|\bvbd\b|\bdisk\b|/dev/zvol|backend.*block"),
    ("network", r"\bvif\b|\bbridge\b|network interface"),
    # xenconsoled did not take up the new domain's console in libxl's time: a busy dom0.
    ("console", r"console tty: timed out|console_xswait"),
    ("kernel", r"\bkernel\b|\binitrd\b|\bramdisk\b"),
)
_PATTERNS = tuple((kind, re.compile(words, re.IGNORECASE)) for kind, words in _KINDS)
_TIMESTAMP = re.compile(r"^\d{4}-\d\d-\d\d [\d:.]+\+\d{4}: ")

# tools/console/daemon/main.c: a pty's two ends, an event channel, a log.
FILES_OF_A_CONSOLE = 4
_FILES = re.compile(r"^Max open files\s+(\d+)", re.MULTILINE)

LOG_END_BYTES = 64 * 1024
LINE_LENGTH = 200


def start_failure(message: str, log: str) -> tuple[str, str]:
    """(kind, sentence) for a failed start, from libvirt's message and what its driver's log
    gained meanwhile. Kinds: no_memory, kernel, disk, network, console, hypervisor_error. A limit
    of the dom0 that was met is named in the sentence, with what lifts it."""
    lines = [_TIMESTAMP.sub("", line)[:LINE_LENGTH] for line in log.splitlines() if line.strip()]
    kind, reason = _reason(message, lines)
    met = next(filter(None, map(explained, (message, *lines))), "")
    return kind, f"{reason}: {met}" if met else reason


def _reason(message: str, lines: list[str]) -> tuple[str, str]:
    kind = _kind_of(message)
    if kind != "hypervisor_error":
        return kind, message
    for line in lines:
        kind = _kind_of(line)
        if kind != "hypervisor_error":
            return kind, f"{message}: {line}"
    # A cause stands before its consequences.
    return "hypervisor_error", f"{message}: {lines[0]}" if lines else message


def xenconsoled_full(proc: Path = Path("/proc")) -> str:
    """In words when xenconsoled has as many files open as it may, but for the few that a console
    needs; empty when it has room, or when nothing of it can be read."""
    try:
        for folder in proc.glob("[0-9]*"):
            if (folder / "comm").read_text() == "xenconsoled\n":
                may = _FILES.search((folder / "limits").read_text())
                held = len(os.listdir(folder / "fd"))
                if may and held + FILES_OF_A_CONSOLE > int(may[1]):
                    return f"xenconsoled has {held} of its {may[1]} files open"
                return ""
    except OSError:
        return ""
    return ""


def log_size(log: Path) -> int:
    """Bytes in the driver's log; 0 when it cannot be read."""
    try:
        return os.stat(log).st_size
    except OSError:
        return 0


def log_since(log: Path, size: int) -> str:
    """What the driver's log gained since it had `size` bytes, its last 64 KiB at most; empty
    when it cannot be read, since the start has failed with or without a reason."""
    try:
        with log.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(size if size <= end else 0, end - LOG_END_BYTES))
            return file.read(LOG_END_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


def _kind_of(text: str) -> str:
    return next((kind for kind, words in _PATTERNS if words.search(text)), "hypervisor_error")
