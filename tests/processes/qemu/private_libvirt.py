"""A libvirtd of one's own, beside the system's and out of its sight: in a mount namespace, where
its folders are below one that the test gives, and in a network namespace.

It writes guests' consoles without virtlogd, confines nothing, and runs QEMU as root: it is there
for its states and events. Whoever speaks with it does so through its socket, from outside.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import libvirt

_PATIENCE = 30.0
_FOLDERS = {
    "run": "/run/libvirt",
    "lib": "/var/lib/libvirt",
    "cache": "/var/cache/libvirt",
    "log": "/var/log/libvirt",
    "etc": "/etc/libvirt",
}
_LIBVIRTD = 'auth_unix_rw = "none"\nauth_unix_ro = "none"\nlog_filters = ""\n'
_QEMU = """user = "root"
group = "root"
security_driver = "none"
cgroup_controllers = []
stdio_handler = "file"
namespaces = []
dynamic_ownership = 0
"""


def can_be_had() -> bool:
    tools = ("libvirtd", "qemu-system-x86_64", "unshare")
    there = all(shutil.which(tool) for tool in tools)
    folders = (path for name, path in _FOLDERS.items() if name != "run")
    return there and os.geteuid() == 0 and all(Path(path).is_dir() for path in folders)


class PrivateLibvirt:
    """Started at once; `stop` ends it with all of its QEMUs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in _FOLDERS:
            (folder / name).mkdir()
        (folder / "lib" / "qemu").mkdir()
        (folder / "etc" / "libvirtd.conf").write_text(_LIBVIRTD)
        (folder / "etc" / "qemu.conf").write_text(_QEMU)
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def uri(self) -> str:
        return f"qemu:///system?socket={self.folder}/run/libvirt-sock"

    def start(self) -> None:
        mounts = [f"mount --bind {self.folder}/{name} {path}" for name, path in _FOLDERS.items()]
        script = " && ".join(
            [
                "mount --make-rprivate /",
                # The first libvirtd of a machine makes it. It is not to stay there.
                "(test -d /run/libvirt || mount -t tmpfs tmpfs /run && mkdir -p /run/libvirt)",
                *mounts,
                "exec libvirtd --timeout 600 --pid-file /run/libvirt/own.pid",
            ]
        )
        with (self.folder / "libvirtd.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["unshare", "--mount", "--net", "sh", "-c", script],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                libvirt.open(self.uri).close()
                return
            except libvirt.libvirtError:
                said = (self.folder / "libvirtd.log").read_text()[-2000:]
                assert self._process.poll() is None and time.monotonic() < deadline, said
                time.sleep(0.05)

    def kill(self) -> None:
        """libvirtd alone: its QEMUs go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(_PATIENCE)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def qemu(self, name: str) -> int:
        """The process id of a domain's QEMU."""
        return int((self.folder / "run" / "qemu" / f"{name}.pid").read_text())

    def stop(self) -> None:
        for file in (self.folder / "run" / "qemu").glob("*.pid"):
            try:
                os.kill(int(file.read_text()), signal.SIGKILL)
            except (ProcessLookupError, ValueError):
                continue
        self.kill()
