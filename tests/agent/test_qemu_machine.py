"""What makes a template another, what clones have alike, and what each is told of itself."""

from __future__ import annotations

import uuid
from dataclasses import replace
from itertools import pairwise

import pytest

from fleet.identity import Fleet
from fleet.keys import Epoch, Kin, Term
from fleet.ranges import IndexSet
from fleet.v1 import types_pb2 as types
from fleet_agent.core.domain.disks import Disk
from fleet_agent.core.domain.flavour import Flavour
from fleet_agent.core.model import Batch, Mark
from fleet_agent.core.qemu.identity_message import MOST_BYTES, identity_message, split_words
from fleet_agent.core.qemu.machine import (
    Emulator,
    Guest,
    Memory,
    Sockets,
    Way,
    arguments,
    template_key,
)
from fleet_agent.core.qemu.qemu_guest import guest_of, own_values, template_of

FLEET = Fleet("8e3a4f62-6a0c-4b3e-9d51-0f6a4c1b7d10", "spv", 7, site=1)
SPEC = types.FleetSpec(
    memory_bytes=80 << 20,
    vcpus=1,
    boot=types.Boot(kernel="/k", initrd="/i", cmdline="console=ttyS0 name={name} a={{b}} ip={ip}"),
    disk=types.Disk(target="vda"),
    network=types.Network(bridge="br0", prefix="10.0.0.0/8"),
    start=types.START_CLONE,
)
BATCH = Batch(
    FLEET, Kin(FLEET.uid, 3, 41), SPEC, Mark(Term(1, 1), Epoch(1, 1)), IndexSet.span(0, 9)
)
EMULATOR = Emulator("/usr/bin/qemu", "7.2", "cpu")
SOCKETS = Sockets(3, 4, 5, 6)


def guest(index: int) -> Guest:
    return guest_of(BATCH, index, Disk(f"/d/{index}"), Flavour.TCG)


def key(**changes: object) -> str:
    """Of the template of VM 3, with something else than it has."""
    common = template_of(guest(3))
    fields = {name: value for name, value in changes.items() if hasattr(common, name)}
    emulator = {name: value for name, value in changes.items() if hasattr(EMULATOR, name)}
    return template_key(
        replace(EMULATOR, **emulator),  # type: ignore[arg-type]
        str(changes.get("fleet", FLEET.uid)),
        replace(common, **fields),  # type: ignore[arg-type]
        [str(changes.get("files", "1:2:3"))],
        int(str(changes.get("disk_bytes", 8 << 20))),
    )


def test_vms_of_one_fleet_have_one_template() -> None:
    first, second = template_of(guest(3)), template_of(guest(4))
    assert replace(first, disk=None) == replace(second, disk=None)
    assert key() == template_key(EMULATOR, FLEET.uid, second, ["1:2:3"], 8 << 20)


@pytest.mark.parametrize(
    "change",
    [
        {"version": "8.2"},
        {"cpu": "another processor"},
        {"flavour": Flavour.KVM},
        {"fleet": "11111111-6a0c-4b3e-9d51-0f6a4c1b7d10"},
        {"memory_bytes": 96 << 20},
        {"vcpus": 2},
        {"kernel": "/other"},
        {"cmdline": "quiet"},
        {"files": "4:5:6"},
        {"disk_bytes": 16 << 20},
        {"nics": ()},
    ],
)
def test_any_difference_makes_another_template(change: dict[str, object]) -> None:
    assert key(**change) != key()


def test_a_template_writes_to_no_disk_and_is_heard_by_no_network() -> None:
    command = " ".join(
        arguments(EMULATOR, template_of(guest(3)), Way.TEMPLATE, SOCKETS, Memory("/t/ram"))
    )
    assert "snapshot=on" in command and "hubport" in command and "tap," not in command
    assert "share=on,prealloc=on" in command and "-kernel /k" in command


def test_a_clone_has_the_devices_of_its_template_and_no_kernel_of_its_own() -> None:
    frozen = arguments(EMULATOR, template_of(guest(3)), Way.TEMPLATE, SOCKETS, Memory("/t/ram"))
    copied = arguments(EMULATOR, guest(3), Way.CLONE, SOCKETS, Memory("/t/ram"))
    for command in (frozen, copied):
        assert command.count("-device") == frozen.count("-device")
    kinds = [
        [one.partition(",")[0] for before, one in pairwise(command) if before == "-device"]
        for command in (frozen, copied)
    ]
    assert kinds[0] == kinds[1]
    assert "-kernel" not in copied and copied[-2:] == ["-incoming", "defer"]
    assert "share=off" in " ".join(copied) and "prealloc" not in " ".join(copied)


def test_words_of_the_command_line_that_are_a_vms_own_reach_it_over_its_port() -> None:
    assert guest(3).cmdline == "console=ttyS0 a={b} megafleet.identity=port"
    assert own_values(BATCH, 3) == {"cmdline": "name=spv-3 ip=10.0.0.5", "address": "10.0.0.5/8"}
    assert split_words("a={{x}} b={y}z c") == ("a={{x}} c", "b={y}z")


def test_a_path_with_a_comma_is_one_path() -> None:
    odd = guest_of(BATCH, 1, Disk("/d/a,readonly=on"), Flavour.TCG)
    command = arguments(EMULATOR, odd, Way.BOOT, SOCKETS, Memory())
    assert any("file=/d/a,,readonly=on," in one for one in command)


def test_what_a_guest_is_told_is_lines_and_ends() -> None:
    def told(values: dict[str, str]) -> bytes:
        machine = uuid.UUID(int=5)
        return identity_message("spv-1", 1, machine, ["02:00"], values, seed=b"ab", clock_ns=7)

    message = told({"address": "10.0.0.2/8"})
    assert message.endswith(b"address=10.0.0.2/8\n\n") and b"\nmac=02:00\n" in message
    assert b"seed=6162\n" in message and b"clock=7\n" in message
    for value in ("two\nlines", "x" * MOST_BYTES):
        with pytest.raises(ValueError, match="spv-1"):
            told({"cmdline": value})
