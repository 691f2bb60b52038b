"""Reads the logs in which met limits are told, their ends alone."""

from __future__ import annotations

from pathlib import Path

from fleet_agent.core.limits.met import LimitMet, limits_met, newest_of_each
from fleet_agent.dom0.host_tree import CannotRead, HostTree

LOG_FOLDER = "/var/log/xen"
LOGS = ("/var/log/libvirt/libxl/libxl-driver.log", "/var/log/daemon.log")
# Of each folder, the logs written last: a dense host has one of each guest.
MOST_LOGS = 32
# xenconsoled and xenstored say so to syslog.
JOURNAL = ("journalctl", "-b", "-q", "--no-pager", "-o", "short-iso", "-n", "2000")
DAEMONS = ("-t", "xenconsoled", "-t", "xenstored", "-t", "oxenstored", "-t", "libvirtd")


def read_met(tree: HostTree) -> tuple[LimitMet, ...]:
    """What was met since the host booted, as far as its logs go back. Blocking."""
    found = [*limits_met(tree.kernel_log(), "the kernel's log")]
    for where, command in (("xl dmesg", ("xl", "dmesg")), ("the journal", (*JOURNAL, *DAEMONS))):
        try:
            found += limits_met(tree.run(command), where)
        except CannotRead:
            continue  # no Xen, or no journal: nothing is told there
    for path in _logs(tree):
        found += limits_met(tree.end_of(path), "/" + str(path.relative_to(tree.root)))
    return newest_of_each(found)


def _logs(tree: HostTree) -> list[Path]:
    """Files; those that are older than this boot are left out."""
    paths = [*tree.at(LOG_FOLDER).glob("*.log"), *(tree.at(one) for one in LOGS)]
    booted = _booted(tree)
    dated = [(path.stat().st_mtime, path) for path in paths if path.is_file()]
    recent = sorted((one for one in dated if one[0] >= booted), reverse=True)
    return [path for _, path in recent[:MOST_LOGS]]


def _booted(tree: HostTree) -> float:
    """Seconds since 1970; 0 when it is not told."""
    text = tree.text_or_none("/proc/stat") or ""
    for line in text.splitlines():
        if line.startswith("btime "):
            return float(line.split()[1])
    return 0.0
