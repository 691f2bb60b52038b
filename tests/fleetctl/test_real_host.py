"""A real host of a sandbox: how many VMs, what it needs, whose domains are whose."""

from __future__ import annotations

import os
import subprocess
import xml.etree.ElementTree as elements
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from fleet_agent.core.image_formats import DISK, recognised
from fleet_agent.daemon import settings as agent_settings_file
from fleetctl.main import cli
from fleetctl.sandbox.booting import fleet_file
from fleetctl.sandbox.errors import SandboxError
from fleetctl.sandbox.phases import Phases
from fleetctl.sandbox.processes.libvirt_daemons import SESSION_URI, SYSTEM_URI, libvirt_of
from fleetctl.sandbox.processes.parts import agent_settings
from fleetctl.sandbox.real import guest, packages
from fleetctl.sandbox.real.domains import Virsh, free_fleet_name, is_logged_in, own_domains, remove
from fleetctl.sandbox.real.host import is_chroot
from fleetctl.sandbox.real.sizing import MIB, Accel, Room, checked_number, default_number
from fleetctl.sandbox.state.folder import Folder
from fleetctl.sandbox.state.record import RealHost, Record, Replica, Settings, difference
from megafleet.fleet_file.parser import parse_fleet_file

CLONE = 8 * MIB
GIB = 1024 * MIB
REAL = RealHost(host="real-1", uri=SYSTEM_URI, files="/var/lib/x/1", guests=40, fleet="real")
RECORD = Record(
    id="1" * 16,
    name="demo",
    asked=Settings(real=3, hosts=0),
    hosts=1,
    store_version="etcd 3.5",
    reasons=[],
    etcd=[],
    controllers=[Replica("controller-1", 7123)],
    hollow=[],
    real=REAL,
)


@pytest.mark.parametrize(
    ("cores", "memory", "accel", "number", "why"),
    [
        (2, 24 * GIB, "tcg", 20, "10 emulated on each of 2 cores"),
        (1, 24 * GIB, "tcg", 10, "10 emulated on each of 1 core"),
        (4, 64 * GIB, "kvm", 160, "40 under KVM on each of 4 cores"),
        (64, 1024 * GIB, "kvm", 250, "admit no more"),
        (8, 2 * GIB, "tcg", 7, "2.0 GiB of memory"),
    ],
)
def test_as_many_vms_as_cores_and_memory_bear_and_it_is_said_which(
    cores: int, memory: int, accel: Accel, number: int, why: str
) -> None:
    found, said = default_number(Room(cores, memory, 1024 * GIB), accel, CLONE)
    assert found == number and why in said and said.startswith(f"{number} VMs")


def test_more_than_fit_are_refused_with_how_many_do() -> None:
    room = Room(2, 2 * GIB, 1024 * GIB)
    assert checked_number(7, room, "tcg", CLONE) == 7
    with pytest.raises(SandboxError, match=r"100 VMs of .* do not fit here: .* admits 7"):
        checked_number(100, room, "tcg", CLONE)
    with pytest.raises(SandboxError, match=r"1 VM of .* admits 0"):
        default_number(Room(2, 100 * MIB, 1024 * GIB), "tcg", CLONE)
    with pytest.raises(SandboxError, match="of disk are free, which admits 1"):
        checked_number(2, Room(2, 24 * GIB, 12 * MIB), "kvm", CLONE)


def test_root_has_the_systems_libvirt_and_others_their_sessions() -> None:
    assert libvirt_of(0, {"XDG_RUNTIME_DIR": "/run/user/0"}).uri == SYSTEM_URI
    session = libvirt_of(1000, {"XDG_RUNTIME_DIR": "/run/user/1000"})
    assert (session.uri, session.sockets) == (SESSION_URI, Path("/run/user/1000/libvirt"))
    assert libvirt_of(1000, {"XDG_CACHE_HOME": "/c"}).sockets == Path("/c/libvirt")


def test_where_root_cannot_be_had_the_command_to_type_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(packages, "SYSTEM_PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    missing = packages.missing_packages(has_binding=False)
    assert missing == [
        "qemu-system-x86", "qemu-utils", "libvirt-daemon-system", "libvirt-daemon-driver-qemu",
        "libvirt-clients", "etcd-server", "python3-libvirt",
    ]  # fmt: skip
    with pytest.raises(SandboxError, match=r"sudo apt-get install .* libvirt-clients etcd-server"):
        packages.install(missing, Phases())
    for program in ("qemu-system-x86_64", "qemu-img", "libvirtd", "virtlogd", "virsh", "etcd"):
        (tmp_path / program).touch(mode=0o755)
    assert packages.missing_packages(has_binding=True) == []


def test_drivers_load_after_what_they_need_and_what_is_built_in_is_left_out(
    tmp_path: Path,
) -> None:
    def module(name: str, needs: str) -> None:
        content = b"\x7fELF\0license=GPL\0depends=" + needs.encode() + b"\0name=x\0"
        (tmp_path / f"{name}.ko").write_bytes(content)

    module("virtio_pci", "virtio-ring,virtio")
    module("virtio-ring", "virtio")
    module("virtio", "")
    module("virtio_blk", "virtio_ring")
    assert list(guest.drivers(tmp_path)) == ["virtio", "virtio_ring", "virtio_pci", "virtio_blk"]
    with pytest.raises(SandboxError, match="holds no kernel modules"):
        guest.drivers(tmp_path / "none")


def test_the_golden_image_is_known_as_a_disk_and_is_not_yet_anybodys() -> None:
    sector = guest.golden_sector()
    assert len(sector) == 512 and sector.split(b"\n")[0].split() == [b"golden", b"0"]
    assert recognised(sector + bytes(8192), b"", guest.GOLDEN_BYTES) is DISK


def domain(name: str, log: str) -> elements.Element:
    text = f"<domain><name>{name}</name><devices><serial><log file='{log}'/></serial></devices>"
    return elements.fromstring(f"{text}</domain>")


@dataclass(frozen=True)
class FakeVirsh(Virsh):
    """What one libvirt has, and what it was told to do."""

    defined: dict[str, elements.Element] = field(default_factory=dict)
    active: frozenset[str] = frozenset()
    told: list[tuple[str, ...]] = field(default_factory=list)
    # What libvirt defines, by the domain during whose removal it does.
    late: dict[str, elements.Element] = field(default_factory=dict)
    stubborn: frozenset[str] = frozenset()

    def said(self, *arguments: str) -> str:
        self.told.append(arguments)
        act, name = arguments[:2]
        if act == "undefine" and name not in self.defined:
            raise SandboxError(f"virsh undefine failed: no domain {name}")
        if act == "undefine" and name not in self.stubborn:
            del self.defined[name]
        if (late := self.late.pop(name, None)) is not None:
            self.defined[name + "0"] = late
        return ""

    def names(self) -> list[str]:
        return list(self.defined)

    def running(self) -> list[str]:
        return [name for name in self.defined if name in self.active]

    def definition(self, name: str) -> elements.Element | None:
        return self.defined.get(name)


CONSOLES = Path("/var/lib/x/1/consoles")


def many() -> FakeVirsh:
    return FakeVirsh(
        SYSTEM_URI,
        {
            "real-0": domain("real-0", f"{CONSOLES}/real-0.log"),
            "real-1": domain("real-1", f"{CONSOLES}/real-1.log"),
            "real-2": domain("real-2", "/var/lib/x/2/consoles/real-2.log"),
            "mine": elements.fromstring("<domain><devices/></domain>"),
        },
        frozenset({"real-0", "mine", "real-2"}),
    )


def test_only_domains_whose_consoles_are_logged_in_the_sandboxs_folder_are_removed() -> None:
    virsh = many()
    assert own_domains(virsh, CONSOLES) == ["real-0", "real-1"]
    assert not is_logged_in(domain("x", f"{CONSOLES}/../../2/consoles/x.log"), CONSOLES)
    assert remove(virsh, CONSOLES, Phases()) == 2
    acts = sorted(arguments[:2] for arguments in virsh.told)
    assert acts == [("destroy", "real-0"), ("undefine", "real-0"), ("undefine", "real-1")]


def test_a_domain_that_libvirt_defines_while_others_are_removed_goes_too() -> None:
    virsh = many()
    virsh.late["real-1"] = domain("real-10", f"{CONSOLES}/real-10.log")
    assert remove(virsh, CONSOLES, Phases()) == 3
    assert list(virsh.defined) == ["real-2", "mine"]


def test_a_domain_that_went_by_itself_is_no_failure_and_one_that_stays_is() -> None:
    class Late(FakeVirsh):
        def running(self) -> list[str]:
            self.defined.pop("real-1", None)  # between the look and its removal
            return super().running()

    virsh = many()
    assert remove(Late(SYSTEM_URI, virsh.defined, virsh.active), CONSOLES, Phases()) == 2
    stubborn = replace(many(), stubborn=frozenset({"real-0"}))
    with pytest.raises(SandboxError, match="domain real-0 is there again each time"):
        remove(stubborn, CONSOLES, Phases())


def test_a_fleet_gets_a_name_that_no_domain_of_this_libvirt_has() -> None:
    assert free_fleet_name(many(), "real", "3f2a") == "real-3f2a"
    assert free_fleet_name(many(), "small", "3f2a") == "small"
    assert free_fleet_name(many(), "rea", "3f2a") == "rea"


def test_the_agent_reads_its_own_settings_and_logs_consoles_in_the_sandboxs_folder(
    tmp_path: Path,
) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(agent_settings(RECORD, Folder(tmp_path)))
    read = agent_settings_file.load(["--config", str(file)])
    assert read.endpoints == ("127.0.0.1:7123",) and read.guests == 40
    assert read.hypervisor.console_log == "/var/lib/x/1/consoles/{name}.log"
    assert (read.storage.kind, read.storage.parent) == ("files", "/var/lib/x/1/storage")


def test_the_fleet_file_is_one_that_apply_takes() -> None:
    parsed = parse_fleet_file(
        fleet_file(REAL, guest.Guest(REAL.guest), 4, Path("/f.yaml")), "fleet.yaml"
    )
    assert parsed.name == "real" and parsed.spec.memory_bytes == 80 * MIB
    assert parsed.spec.boot.kernel == "/var/lib/x/1/guest/vmlinuz"


def test_options_of_hollow_hosts_are_refused_beside_a_real_one() -> None:
    for arguments in (("up", "--hosts", "3"), ("demo", "--total", "9"), ("up", "--seed", "2")):
        said = CliRunner().invoke(cli, ["sandbox", arguments[0], "--real", *arguments[1:]])
        assert said.exit_code == 2 and f"{arguments[1]} is for hollow hosts" in said.output


def test_a_real_sandbox_keeps_what_it_was_asked_for() -> None:
    assert difference(RECORD, Settings()) == ""
    assert difference(RECORD, Settings(real=3)) == ""
    assert "was made with --real 3, which cannot become 4" in difference(RECORD, Settings(real=4))


def test_a_chroot_is_known_by_another_root_than_that_of_the_first_process(tmp_path: Path) -> None:
    assert is_chroot(Path("/"), tmp_path) and not is_chroot(tmp_path, tmp_path)
    assert not is_chroot(Path("/"), tmp_path / "unreadable")


def test_the_guests_first_process_is_a_script_that_a_shell_takes() -> None:
    script = Path(guest.__file__).with_name("guest_init")
    assert subprocess.run(["sh", "-n", script], capture_output=True).returncode == 0
