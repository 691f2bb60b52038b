"""Daemons of the dom0, found by name: open files that they may have, and their units."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fleet_agent.core.limits.dom0_facts import Process
from fleet_agent.dom0.host_tree import CannotRead, HostTree

STORES = ("oxenstored", "xenstored")
LIBVIRTS = ("libvirtd", "virtxend", "virtqemud")
LOGGER = "virtlogd"
AGENT = "fleet-agent"
_WANTED = frozenset(("xenconsoled", *STORES, *LIBVIRTS, LOGGER))
_UNIT = re.compile(r"/([A-Za-z0-9:_.@-]+\.service)\b")
_FILES = re.compile(r"^Max open files\s+(\d+|unlimited)\s", re.MULTILINE)
# fs.nr_open's default: the most that any process may be given.
UNLIMITED = 1_048_576


@dataclass(frozen=True, slots=True)
class Daemons:
    """By their names in the table of limits; `xenstored` and `libvirt` are the programs that
    run in these parts, empty where none does."""

    processes: dict[str, Process]
    xenstored: str
    libvirt: str


def daemons(tree: HostTree, own_pid: int, unread: dict[str, str]) -> Daemons:
    """What runs. What cannot be told is noted in `unread` by name."""
    pids = _pids(tree)
    store = next((name for name in STORES if name in pids), "")
    libvirt = next((name for name in LIBVIRTS if name in pids), "")
    roles = {"xenconsoled": "xenconsoled", "xenstored": store, "libvirtd": libvirt, LOGGER: LOGGER}
    found: dict[str, Process] = {}
    for role, program in roles.items():
        if program in pids:
            _add(found, tree, role, pids[program], unread)
    _add(found, tree, AGENT, own_pid, unread)
    return Daemons(found, store, libvirt)


def _add(
    found: dict[str, Process], tree: HostTree, role: str, pid: int, unread: dict[str, str]
) -> None:
    try:
        limits = _FILES.search(tree.text(f"/proc/{pid}/limits"))
    except CannotRead as error:
        unread[role] = str(error)
        return
    if limits is None:
        unread[role] = f"/proc/{pid}/limits does not tell its open files"
        return
    files = UNLIMITED if limits[1] == "unlimited" else int(limits[1])
    unit = _UNIT.findall(tree.text_or_none(f"/proc/{pid}/cgroup") or "")
    found[role] = Process(role, pid, files, unit[-1] if unit else "")


def _pids(tree: HostTree) -> dict[str, int]:
    """The lowest pid of each program looked for: daemons fork workers after themselves."""
    found: dict[str, int] = {}
    for pid in sorted(int(name) for name in tree.names("/proc") if name.isdecimal()):
        name = (tree.text_or_none(f"/proc/{pid}/comm") or "").strip()
        if name in _WANTED:
            found.setdefault(name, pid)
    return found
