"""Whether QEMU may use KVM: tried once for each boot, QEMU and kernel, and remembered."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fleet_agent.core.domain.flavour import Flavour
from fleet_agent.drivers.libvirt import accelerator as trials
from fleet_agent.drivers.libvirt.accelerator import Accelerator, a_kernel, decided, try_kvm
from fleet_agent.drivers.libvirt.qemu_account import Account, qemu_account, user_in


@dataclass
class Machine:
    """One with a device, a QEMU and a kernel, where KVM works as `why` says."""

    folder: Path
    why: str = ""
    tried: int = 0
    boot: str = "boot-1"
    account: Account | None = None
    missing: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        for name in ("kvm", "qemu", "kernel"):
            (self.folder / name).write_text(name)

    def attempt(self, emulator: Path, kernel: Path, account: Account | None) -> str:
        assert account is self.account
        assert (emulator.name, kernel.name) == ("qemu", "kernel")
        self.tried += 1
        return self.why

    def decide(self) -> Accelerator:
        emulator, kernel = (
            None if name in self.missing else self.folder / name for name in ("qemu", "kernel")
        )
        memory = self.folder / "accelerator.json"
        return decided(
            self.folder / "kvm", emulator, kernel, self.account, self.boot, memory, self.attempt
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_kvm_is_used_where_a_kernel_boots_under_it(machine: Machine) -> None:
    assert machine.decide() == Accelerator(Flavour.KVM)


def test_what_the_trial_came_to_is_remembered(machine: Machine) -> None:
    machine.why = "it spins"
    assert machine.decide() == machine.decide() == Accelerator(Flavour.TCG, "it spins")
    assert machine.tried == 1


def reboot(machine: Machine) -> None:
    machine.boot = "boot-2"


def upgrade(machine: Machine) -> None:
    (machine.folder / "qemu").write_text("another QEMU")


def other_kernel(machine: Machine) -> None:
    (machine.folder / "kernel").write_text("another kernel")


def spoil(machine: Machine) -> None:
    (machine.folder / "accelerator.json").write_text("rubbish")


def given_to_another(machine: Machine) -> None:
    (machine.folder / "kvm").chmod(0o666)


def run_by_another(machine: Machine) -> None:
    machine.account = Account("qemu", 107, 107, (107, 36))


_CHANGES = [reboot, upgrade, other_kernel, spoil, given_to_another, run_by_another]


@pytest.mark.parametrize("change", _CHANGES)
def test_it_is_tried_again_where_anything_is_new(
    machine: Machine, change: Callable[[Machine], None]
) -> None:
    machine.why = "it spins"
    machine.decide()
    change(machine)
    machine.why = ""
    assert machine.decide() == Accelerator(Flavour.KVM)
    assert machine.tried == 2


def test_without_the_device_nothing_is_tried(machine: Machine) -> None:
    (machine.folder / "kvm").unlink()
    found = machine.decide()
    assert (found.flavour, machine.tried) == (Flavour.TCG, 0)
    assert "is not there" in found.why


@pytest.mark.parametrize("name", ["qemu", "kernel"])
def test_without_anything_to_try_it_with_guests_are_emulated(machine: Machine, name: str) -> None:
    machine.missing = {name}
    assert machine.decide().flavour is Flavour.TCG and not machine.tried


def test_a_memory_that_cannot_be_written_is_no_trouble(machine: Machine) -> None:
    (machine.folder / "accelerator.json").mkdir()
    assert machine.decide() == Accelerator(Flavour.KVM)


@pytest.mark.parametrize(("wanted", "flavour"), [("kvm", Flavour.KVM), ("tcg", Flavour.TCG)])
def test_a_setting_is_obeyed_untried(
    wanted: trials.Wanted, flavour: Flavour, tmp_path: Path
) -> None:
    assert (
        trials.accelerator(wanted, "qemu:///system", "boot", tmp_path / "memory").flavour is flavour
    )
    assert not (tmp_path / "memory").exists()


# What stands in for QEMU: a program that says what its name is of.


def kernel(folder: Path) -> Path:
    made = folder / "vmlinuz"
    made.write_bytes(b"a kernel")
    made.chmod(0o600)
    return made


def program(folder: Path, text: str) -> Path:
    made = folder / "qemu"
    made.write_text(f"#!/bin/sh\n{text}\n")
    made.chmod(0o755)
    return made


def test_a_kernels_first_words_are_enough(tmp_path: Path) -> None:
    says = program(tmp_path, "echo '[0.0] Linux version 6.1'; exec sleep 60")
    assert try_kvm(says, kernel(tmp_path)) == ""


def test_an_emulator_that_ends_is_named_with_its_last_words(tmp_path: Path) -> None:
    ends = program(tmp_path, "echo booting; echo 'Assertion failed' >&2; exit 1")
    assert try_kvm(ends, kernel(tmp_path)) == "QEMU ended under KVM: Assertion failed"
    closed = program(tmp_path, "echo 'failed: Permission denied'; exit 1")
    assert "chgrp kvm /dev/kvm; chmod 660" in try_kvm(closed, kernel(tmp_path))


def test_a_kernel_that_says_nothing_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "PATIENCE", 0.1)
    silent = program(tmp_path, "exec sleep 60")
    assert "did not say a word under KVM within 0.1 s" in try_kvm(silent, kernel(tmp_path))


def test_an_emulator_that_cannot_be_run_is_named(tmp_path: Path) -> None:
    assert "cannot be run" in try_kvm(tmp_path / "none", kernel(tmp_path))


def test_the_newest_kernel_that_may_be_read_is_tried(tmp_path: Path) -> None:
    assert a_kernel(tmp_path) is None
    (tmp_path / "vmlinuz-6.1").touch()
    assert a_kernel(tmp_path) == tmp_path / "vmlinuz-6.1"


# As whom.


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone may run it as another user")
def test_it_is_tried_as_the_user_that_libvirt_runs_qemu_as(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    says = program(tmp_path, 'cat "${14}"; id -u; id -g; id -G; exit 1')
    nobody = Account("nobody", 65534, 65534, (65534, 12345))
    with exposed(tmp_path):
        why = try_kvm(says, kernel(tmp_path), nobody)
    assert why == "as nobody, as libvirt runs it, QEMU ended under KVM: 65534 12345"


@contextmanager
def exposed(folder: Path) -> Iterator[None]:
    """Others may enter the folders above it meanwhile: those of tests are root's alone."""
    above = [one for one in folder.parents if not one.stat().st_mode & 0o001]
    modes = [one.stat().st_mode for one in above]
    for one in above:
        one.chmod(0o755)
    try:
        yield
    finally:
        for one, mode in zip(above, modes, strict=True):
            one.chmod(mode)


@pytest.mark.parametrize(
    ("text", "user"),
    [
        ("", ""),
        ('#user = "libvirt-qemu"\n', ""),
        ('user = "virt"  # ours\nuser_other = 1\n', "virt"),
        ("user = '+0'\n", "+0"),
        ('user = "a"\nuser="b"\n', "b"),
    ],
)
def test_the_user_that_qemu_conf_sets(text: str, user: str) -> None:
    assert user_in(text) == user


@pytest.mark.skipif(os.geteuid() != 0, reason="a plain user's libvirt runs QEMU as that user")
def test_the_account_is_looked_up(tmp_path: Path) -> None:
    settings = tmp_path / "qemu.conf"
    settings.write_text('user = "nobody"\n')
    found = qemu_account("qemu:///system", settings)
    assert found is not None and (found.name, found.uid) == ("nobody", 65534)
    assert qemu_account("qemu:///session", settings) is None
    settings.write_text('user = "root"\n')
    assert qemu_account("qemu:///system", settings) is None
    settings.write_text('user = "nobody-of-that-name"\n')
    assert qemu_account("qemu:///system", settings) is None
