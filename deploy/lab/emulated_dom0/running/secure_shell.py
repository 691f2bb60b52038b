"""Reaching the dom0: ssh as root on the forwarded port, with the lab's own key and host key."""

import subprocess
import time
from pathlib import Path

from ..building.disk_image import Image
from ..errors import LabError
from ..folders import Folders
from .machine import Machine, serial_log

# One attempt may hang while the dom0 is half up; a handshake takes seconds under emulation.
_ATTEMPT_SECONDS = 30.0
_PAUSE_SECONDS = 2.0
_READY = "systemctl start megafleet-lab.target && timeout 60 virsh -q -c xen:///system list"
# A UNIX socket's path may have 107 characters, of which ssh takes 17 for a temporary name.
_LONGEST_SOCKET_PATH = 90


class Dom0:
    """The dom0 inside a running machine."""

    def __init__(self, folders: Folders, machine: Machine) -> None:
        self._folders = folders
        self._machine = machine
        self._image = Image(folders.cache / f"image-{machine.image}")

    def ssh_command(self, *command: str, shared: bool = True) -> list[str]:
        """The ssh call; `shared` calls go over one connection, which saves each a handshake."""
        options = [
            "BatchMode=yes",
            "HostKeyAlias=dom0",
            "IdentitiesOnly=yes",
            "StrictHostKeyChecking=yes",
            f"UserKnownHostsFile={self._image.known_hosts}",
            "ConnectTimeout=20",
            "ServerAliveInterval=15",
            "LogLevel=ERROR",
        ]
        control = self._folders.run / "ssh.sock"
        if shared and len(str(control)) <= _LONGEST_SOCKET_PATH:
            options += ["ControlMaster=auto", f"ControlPath={control}", "ControlPersist=60"]
        flags = [word for option in options for word in ("-o", option)]
        where = ["-i", str(self._folders.ssh_key), "-p", str(self._machine.ssh_port)]
        return ["ssh", "-F", "none", *flags, *where, "root@127.0.0.1", *command]

    def run(self, command: str, *, stdin: bytes | Path | None = None, deadline: float = 120) -> str:
        """The standard output of a shell command in the dom0; raises LabError when it fails."""
        given = stdin.read_bytes() if isinstance(stdin, Path) else stdin
        try:
            done = subprocess.run(
                self.ssh_command(command), input=given or b"", capture_output=True, timeout=deadline
            )
        except subprocess.TimeoutExpired as error:
            raise LabError(f"`{command}` did not end in the dom0 in {deadline:.0f} s") from error
        if done.returncode != 0:
            said = (done.stderr or done.stdout).decode(errors="replace").strip()
            raise LabError(f"`{command}` failed in the dom0: {said}")
        return done.stdout.decode()

    def wait_ready(self, deadline: float) -> None:
        """Until ssh answers and Xen, libvirt and the pool are there; at most `deadline` seconds."""
        end = time.monotonic() + deadline
        while not self._answers(_ATTEMPT_SECONDS):
            # The pause ends at once when the machine does.
            if self._machine.process.wait_gone(_PAUSE_SECONDS):
                raise LabError(f"the emulated machine ended; {self._serial_tail()}")
            if time.monotonic() > end:
                raise LabError(f"no ssh to the dom0 in {deadline:.0f} s; {self._serial_tail()}")
        self.run(_READY, deadline=max(10.0, end - time.monotonic()))

    def close(self) -> None:
        """End the shared connection, if there is one."""
        if (self._folders.run / "ssh.sock").exists():
            subprocess.run(
                [*self.ssh_command()[:-1], "-O", "exit", "root@127.0.0.1"],
                capture_output=True,
                timeout=_ATTEMPT_SECONDS,
            )

    def _answers(self, seconds: float) -> bool:
        try:
            attempt = subprocess.run(
                self.ssh_command("true", shared=False),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=seconds,
            )
        except subprocess.TimeoutExpired:
            return False
        return attempt.returncode == 0

    def _serial_tail(self) -> str:
        log = serial_log(self._folders)
        lines = log.read_text(errors="replace").splitlines()[-8:] if log.exists() else []
        return "\n".join([f"the end of {log}:", *lines])
