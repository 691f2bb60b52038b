"""Writes the reference of a dom0's limits from their table.

python -m fleet_agent.dom0.limits_reference docs/reference
"""

from __future__ import annotations

import sys
from pathlib import Path

from fleet_agent.core.limits.dom0_facts import Dom0Facts, Process, Qemu, Xen
from fleet_agent.core.limits.met import SIGNATURES
from fleet_agent.core.limits.remedies import Remedy
from fleet_agent.core.limits.table import LIMITS
from fleet_agent.core.limits.verdicts import Limit

PAGE = "limits.md"
DENSITIES = (250, 1000)
GIB = 2**30

# What formulas that ask about the host are given here: a dom0 of 8 GiB and 8 CPUs on a host of
# 64 GiB, VMs of 16 MiB with a disk and an interface, daemons in units of their own.
TYPICAL = Dom0Facts(
    kernel=(6, 12),
    xen=Xen((4, 20), {}, 64 * GIB),
    qemu=Qemu(emulated=True),
    zvols=True,
    qemu_disks=True,
    cpus=8,
    dom0_memory_bytes=8 * GIB,
    sysctls={"kernel.pty.reserve": 1024},
    processes={
        name: Process(name, 1, 1024, unit)
        for name, unit in (
            ("xenconsoled", "xen.service"),
            ("xenstored", "xen.service"),
            ("libvirtd", "libvirtd.service"),
            ("virtlogd", "virtlogd.service"),
            ("fleet-agent", "fleet-agent.service"),
        )
    },
    fast_block_program=True,
)

_TEXT = """\
# Limits of a dom0

What `fleetctl doctor` checks, and what the agent checks at its start and every five minutes: a host
takes no more VMs than the tightest limit admits, whatever its setting `guests` says. What cannot
be read does not bind. An *advisory* limit slows a dense dom0 down without breaking it, and never
binds.

`fleetctl tune` changes what it can. What it writes is `/etc/sysctl.d/60-megafleet.conf`,
`/etc/modprobe.d/megafleet.conf`, `/etc/udev/rules.d/10-megafleet-zvol.rules`,
`/etc/tmpfiles.d/megafleet.conf` and drop-ins named `megafleet.conf` of units of systemd; libvirt's
own files know no drop-ins, and are left to people. What was there before is in `tuning.json` beside
the agent's ledger, and `--undo` brings it back. Options of Xen and of the kernel, files of other
programs and whatever needs a reboot are shown with file and line, and left to people.

Needed values are for VMs of 16 MiB with one CPU, one disk and one interface, on a dom0 with 8 GiB
of the host's 64; a host judges by the VMs that it is assigned. Those of QEMU are for emulation, on
a host of 8 CPUs and 8 GiB. A limit that does not apply (one of Xen on a host without it, one of
QEMU on a dom0, one of ZFS volumes where clones are files) is told as such.
"""

_MET = """\
## Limits that were met

These words in `xl dmesg`, the kernel's log, the journal, `/var/log/xen` or libvirt's
`libxl-driver.log` are recognised. `fleetctl doctor` lists them, and the reason of a VM that did not
start names them.
"""


def page() -> str:
    """Markdown."""
    binding = [one for one in LIMITS if not one.advisory]
    advisory = [one for one in LIMITS if one.advisory]
    parts = [_TEXT, "## Limits that bind\n", *_rows(binding)]
    parts += ["\n## Advisory limits\n", *_rows(advisory), f"\n{_MET}", *_met()]
    return "\n".join(parts) + "\n"


def _rows(limits: list[Limit]) -> list[str]:
    heads = ("limit", "", *(f"needed at {guests:,}" for guests in DENSITIES), "set", "source")
    return [_row(heads), "|" + "---|" * len(heads), *(_row(_cells(one)) for one in limits)]


def _cells(one: Limit) -> tuple[str, ...]:
    needed = (one.needed_in_words(guests, TYPICAL) for guests in DENSITIES)
    return (f"`{one.name}`", one.title, *needed, _where(one.remedy(1000, TYPICAL)), one.source)


def _where(remedy: Remedy) -> str:
    """Where a limit is set, for people."""
    how = "by tune" if remedy.by_tune and not remedy.reboot else "by hand"
    how = f"{how}, then {remedy.then}" if remedy.then else how
    text = f"`{remedy.line}`"
    return f"{text} in `{remedy.file}` ({how})" if remedy.file else f"{text} ({how})"


def _met() -> list[str]:
    rows = [(f"`{one.limit}`", f"`{one.words.pattern}`", one.meaning) for one in SIGNATURES]
    return [_row(("limit", "words", "meaning")), "|---|---|---|", *map(_row, rows)]


def _row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


if __name__ == "__main__":
    (Path(sys.argv[1]) / PAGE).write_text(page())
