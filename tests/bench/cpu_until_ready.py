"""CPU seconds of QEMUs, each read as its guest says that it is ready: what comes after that is none
of its start."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fleetctl.sandbox.real.qemu_processes import process_of
from tests.bench.processes_seen import seconds_of
from tests.real.real_sandbox import RealSandbox, until

READY = "megafleet: ready"


def says_ready(log: Path, after: int = 0) -> bool:
    """Whether it does so behind the first bytes, of which there were `after` before it began."""
    try:
        return READY in log.read_bytes()[after:].decode(errors="replace")
    except FileNotFoundError:
        return False


@contextmanager
def watched(real: RealSandbox, vms: int) -> Iterator[dict[str, float]]:
    """CPU seconds by VM, of those that start in the block. It ends once all are ready."""
    logs = {real.vm(index): real.real.console_of(real.vm(index)) for index in range(vms)}
    before = {vm: log.stat().st_size if log.exists() else 0 for vm, log in logs.items()}
    found: dict[str, float] = {}
    given_up = threading.Event()

    def look() -> bool:
        for vm in logs.keys() - found.keys():
            log = real.real.console_of(vm)
            begun = before[vm] if log == logs[vm] and log.exists() else 0
            if begun > (log.stat().st_size if log.exists() else 0):
                begun = 0  # it was begun anew
            if says_ready(log, begun) and (pid := process_of(vm)) is not None:
                found[vm] = seconds_of(pid)
        return len(found) == vms or given_up.is_set()

    watching = threading.Thread(target=lambda: until(look, "all VMs are ready", 600))
    watching.start()
    try:
        yield found
    except BaseException:
        given_up.set()
        raise
    finally:
        watching.join()
