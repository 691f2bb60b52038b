"""A bare machine, emulated: it has memory, a network card, and a disk or none; what it boots comes
from the network."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.netboot.network import TAP

# With all that QEMU 7.2 emulates (max), the kernel's copies of short texts came out wrong.
_CPU = "Nehalem"
_UUID = "6d656761-666c-4565-a574-000000000001"
MAC = "52:54:00:6d:66:01"
NAME = f"dom0-{MAC.replace(':', '')}"


class Machine:
    """`log`: its serial line, of all its boots."""

    def __init__(self, folder: Path, disk: Path | None = None) -> None:
        self.log = folder / "serial.log"
        self._disk = disk
        self._process: subprocess.Popen[bytes] | None = None

    def switch_on(self) -> None:
        command = [
            "qemu-system-x86_64", "-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", _CPU,
            "-smp", "1", "-m", "4096M", "-uuid", _UUID, "-boot", "n", "-no-reboot",
            "-display", "none", "-vga", "none", "-monitor", "none", "-parallel", "none",
            "-netdev", f"tap,id=lan,ifname={TAP},script=no,downscript=no",
            "-device", f"virtio-net-pci,netdev=lan,mac={MAC},bootindex=0",
            "-device", "virtio-rng-pci",
            "-chardev", f"file,id=serial,path={self.log},append=on", "-serial", "chardev:serial",
        ]  # fmt: skip
        if self._disk is not None:
            command += ["-drive", f"if=virtio,format=raw,file={self._disk},cache=unsafe"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )

    @property
    def is_on(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def cut_power(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)

    def said(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""
