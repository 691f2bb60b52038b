"""Whether QEMU may use KVM: tried once for each boot, QEMU and kernel, and remembered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fleet_agent.core.domain.flavour import Flavour
from fleet_agent.drivers.libvirt import accelerator as trials
from fleet_agent.drivers.libvirt.accelerator import Accelerator, a_kernel, decided, try_kvm


@dataclass
class Machine:
    """One with a device, a QEMU and a kernel, where KVM works as `why` says."""

    folder: Path
    why: str = ""
    tried: int = 0
    boot: str = "boot-1"
    missing: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        for name in ("kvm", "qemu", "kernel"):
            (self.folder / name).write_text(name)

    def attempt(self, emulator: Path, kernel: Path) -> str:
        assert (emulator.name, kernel.name) == ("qemu", "kernel")
        self.tried += 1
        return self.why

    def decide(self) -> Accelerator:
        emulator, kernel = (
            None if name in self.missing else self.folder / name for name in ("qemu", "kernel")
        )
        memory = self.folder / "accelerator.json"
        return decided(self.folder / "kvm", emulator, kernel, self.boot, memory, self.attempt)


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


@pytest.mark.parametrize("change", [reboot, upgrade, other_kernel, spoil])
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
    assert trials.accelerator(wanted, "boot", tmp_path / "memory").flavour is flavour
    assert not (tmp_path / "memory").exists()


# What stands in for QEMU: a program that says what its name is of.


def program(folder: Path, text: str) -> Path:
    made = folder / "qemu"
    made.write_text(f"#!/bin/sh\n{text}\n")
    made.chmod(0o755)
    return made


def test_a_kernels_first_words_are_enough(tmp_path: Path) -> None:
    says = program(tmp_path, "echo '[0.0] Linux version 6.1'; exec sleep 60")
    assert try_kvm(says, Path("/boot/vmlinuz")) == ""


def test_an_emulator_that_ends_is_named_with_its_last_words(tmp_path: Path) -> None:
    ends = program(tmp_path, "echo booting; echo 'Assertion failed' >&2; exit 1")
    assert try_kvm(ends, Path("/boot/vmlinuz")) == "QEMU ended under KVM: Assertion failed"


def test_a_kernel_that_says_nothing_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "PATIENCE", 0.1)
    silent = program(tmp_path, "exec sleep 60")
    assert "did not say a word under KVM within 0.1 s" in try_kvm(silent, Path("/boot/vmlinuz"))


def test_an_emulator_that_cannot_be_run_is_named(tmp_path: Path) -> None:
    assert "cannot be run" in try_kvm(tmp_path / "none", Path("/boot/vmlinuz"))


def test_the_newest_kernel_that_may_be_read_is_tried(tmp_path: Path) -> None:
    assert a_kernel(tmp_path) is None
    (tmp_path / "vmlinuz-6.1").touch()
    assert a_kernel(tmp_path) == tmp_path / "vmlinuz-6.1"
