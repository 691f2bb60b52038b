"""libvirt as this user has it: the system's for root, the session's for others; its daemons."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fleetctl.sandbox.state.record import LibvirtDaemon

SYSTEM_URI = "qemu:///system"
SESSION_URI = "qemu:///session"
# virtlogd first: libvirtd would start a virtlogd of its own in a session.
DAEMONS: tuple[LibvirtDaemon, ...] = ("virtlogd", "libvirtd")
# On which of these it answers, in libvirt's folder of sockets: one daemon for all drivers, or a
# daemon for each.
_SOCKETS: Mapping[LibvirtDaemon, tuple[str, ...]] = {
    "virtlogd": ("virtlogd-sock",),
    "libvirtd": ("libvirt-sock", "virtqemud-sock"),
}
_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Libvirt:
    """One libvirt and where its daemons listen."""

    uri: str
    sockets: Path

    @property
    def is_session(self) -> bool:
        return self.uri == SESSION_URI

    def answers(self, daemon: LibvirtDaemon) -> bool:
        """Whether it runs, or systemd starts it for whoever connects."""
        return any(_connects(self.sockets / name) for name in _SOCKETS[daemon])

    def silent(self) -> list[LibvirtDaemon]:
        """Its daemons that do not run."""
        return [daemon for daemon in DAEMONS if not self.answers(daemon)]


def libvirt_of(user: int, environment: Mapping[str, str]) -> Libvirt:
    """That of a user id."""
    if user == 0:
        return Libvirt(SYSTEM_URI, Path("/run/libvirt"))
    runtime = environment.get("XDG_RUNTIME_DIR", "")
    cache = environment.get("XDG_CACHE_HOME", "") or str(Path.home() / ".cache")
    # As GLib has it: without a folder of the session, the user's cache.
    return Libvirt(SESSION_URI, Path(runtime or cache) / "libvirt")


def lift_core_limit(pid: int) -> None:
    """As systemd starts daemons: libvirt lifts the limit of each QEMU's core file, which fails
    below a bound such as sudo's. Who may not lift it leaves it as it is."""
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    with suppress(PermissionError, ProcessLookupError):
        resource.prlimit(pid, resource.RLIMIT_CORE, unlimited)


def here() -> Libvirt:
    """That of this process's user."""
    return libvirt_of(os.geteuid(), os.environ)


def _connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_SECONDS)
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True
