"""Whether QEMU may use KVM on this host: tried, not believed.

On a nested machine /dev/kvm may open, and libvirt offer it, though no stock kernel runs: its CPU
spins for ever, or QEMU ends. So a kernel of this host is booted once under KVM, as libvirt would,
until it says its first words; by the user that libvirt runs QEMU as, who may lack what root may.
What came out holds for this boot, this QEMU, this kernel, and those who may open the device.
Blocking, for some seconds where KVM does not work.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import msgspec

from fleet_agent.core.domain.flavour import Flavour
from fleet_agent.drivers.libvirt.qemu_account import Account, qemu_account

Wanted = Literal["auto", "kvm", "tcg"]
# Seconds. A kernel says its first words a tenth of a second after its start where KVM works.
PATIENCE = 5.0
_FIRST_WORDS = b"Linux version"
_KVM = Path("/dev/kvm")
# Where no udev runs, as in a container, the device is root's alone.
_CLOSED = (
    f"give it to its group (chgrp kvm {_KVM}; chmod 660 {_KVM}): until then libvirt finds out anew "
    "before each VM what QEMU can do, which takes seconds"
)
# What QEMU says may be of any length; the end of it holds the reason.
_HEARD_BYTES = 64 * 1024
_REASON_LENGTH = 200


@dataclass(frozen=True, slots=True)
class Accelerator:
    """What runs guests of QEMU here; `why` there is no KVM, in words."""

    flavour: Flavour
    why: str = ""

    @property
    def name(self) -> str:
        """As the label `accel` says it."""
        return "kvm" if self.flavour is Flavour.KVM else "tcg"


class Trial(msgspec.Struct, frozen=True):
    """What a trial came to, and of what: another boot, QEMU or kernel is tried anew."""

    of: str
    why: str  # KVM does not work; empty: it does


Attempt = Callable[[Path, Path, Account | None], str]


def accelerator(
    wanted: Wanted, uri: str, boot_id: str, memory: Path, kernel: Path | None = None
) -> Accelerator:
    """`uri`: libvirt's. `memory`: the file that remembers the last trial. A setting is obeyed
    without one. `kernel`: what is tried; the newest of this host, unless given."""
    if wanted == "kvm":
        return Accelerator(Flavour.KVM)
    if wanted == "tcg":
        return Accelerator(Flavour.TCG, "the settings say so")
    emulator = shutil.which("qemu-system-x86_64")
    found = Path(emulator) if emulator else None
    account = qemu_account(uri)
    return decided(_KVM, found, kernel or a_kernel(), account, boot_id, memory, try_kvm)


def decided(
    device: Path,
    emulator: Path | None,
    kernel: Path | None,
    account: Account | None,
    boot_id: str,
    memory: Path,
    attempt: Attempt,
) -> Accelerator:
    """`attempt` boots the kernel by the emulator as the account (None: as this user), and says why
    that failed; empty: it worked."""
    if not os.access(device, os.R_OK | os.W_OK):
        return Accelerator(Flavour.TCG, f"{device} is not there, or this user may not open it")
    if emulator is None or kernel is None:
        return Accelerator(Flavour.TCG, "there is no QEMU and kernel here to try KVM with")
    opened_by = f"{_owners(device)} {account}"
    of = " ".join((boot_id, _stamp(emulator), _stamp(kernel), opened_by))
    trial = _remembered(memory)
    if trial is None or trial.of != of:
        trial = Trial(of, attempt(emulator, kernel, account))
        _remember(memory, trial)
    return Accelerator(Flavour.TCG if trial.why else Flavour.KVM, trial.why)


def a_kernel(folder: Path = Path("/boot")) -> Path | None:
    """The newest kernel there that may be read; None where there is none."""
    found = [one for one in folder.glob("vmlinuz*") if os.access(one, os.R_OK)]
    return max(found, key=lambda one: one.stat().st_mtime, default=None)


def try_kvm(emulator: Path, kernel: Path, account: Account | None = None) -> str:
    """Why the kernel does not boot under KVM; empty when it does."""
    try:
        with tempfile.TemporaryDirectory(prefix="megafleet-kvm-") as folder:
            # Some distributions let root alone read their kernels.
            copy = Path(folder) / "kernel"
            shutil.copyfile(kernel, copy)
            Path(folder).chmod(0o755)
            heard, ended = _booted(emulator, copy, account)
    except OSError as error:
        return f"{emulator} cannot be run, with {kernel}: {error.strerror}"
    if _FIRST_WORDS in heard:
        return ""
    by = f"as {account.name}, as libvirt runs it, " if account else ""
    if ended:
        last = heard.decode("utf-8", "replace").strip().rpartition("\n")[2]
        why = f"{by}QEMU ended under KVM: {last[:_REASON_LENGTH] or 'it said nothing'}"
        return f"{why}; {_CLOSED}" if "Permission denied" in last else why
    return f"{by}{kernel} did not say a word under KVM within {PATIENCE:g} s"


def _booted(emulator: Path, kernel: Path, account: Account | None) -> tuple[bytes, bool]:
    """What a guest of it says, and whether QEMU ended. Raises OSError."""
    command = [
        str(emulator), "-machine", "pc,accel=kvm", "-m", "128", "-nodefaults", "-no-reboot",
        "-display", "none", "-serial", "stdio", "-kernel", str(kernel),
        "-append", "console=ttyS0 earlyprintk=serial,ttyS0 panic=-1",
    ]  # fmt: skip
    pipe = subprocess.PIPE
    if account is None:
        qemu = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=subprocess.STDOUT
        )
    else:
        qemu = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=subprocess.STDOUT, cwd="/",
            user=account.uid, group=account.gid, extra_groups=account.groups,
        )  # fmt: skip
    with qemu:
        try:
            assert qemu.stdout is not None
            return _heard(qemu.stdout)
        finally:
            qemu.kill()


def _heard(output: IO[bytes]) -> tuple[bytes, bool]:
    """What comes until the first words, the end, or patience is over; whether it was the end."""
    deadline, heard = time.monotonic() + PATIENCE, b""
    with selectors.DefaultSelector() as ready:
        ready.register(output, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            if not ready.select(left):
                break
            data = os.read(output.fileno(), 4096)
            heard = (heard + data)[-_HEARD_BYTES:]
            if not data or _FIRST_WORDS in heard:
                return heard, not data
    return heard, False


def _stamp(file: Path) -> str:
    """Tells another version of the file."""
    about = file.stat()
    return f"{file}:{about.st_size}:{about.st_mtime_ns}"


def _owners(device: Path) -> str:
    about = device.stat()
    return f"{about.st_mode:o}:{about.st_uid}:{about.st_gid}"


def _remembered(memory: Path) -> Trial | None:
    try:
        return msgspec.json.decode(memory.read_bytes(), type=Trial)
    except (OSError, msgspec.DecodeError):
        return None  # tried anew


def _remember(memory: Path, trial: Trial) -> None:
    with contextlib.suppress(OSError):  # then it is tried again at the next start
        memory.write_bytes(msgspec.json.encode(trial))
