"""What of the lab can be tested without booting it."""

import lzma
import os
import subprocess
import sys
from pathlib import Path

import pytest
from emulated_dom0.building.digest import digest
from emulated_dom0.building.initramfs import write_initramfs
from emulated_dom0.building.mirror import debian_mirror
from emulated_dom0.commands import run_logged
from emulated_dom0.errors import LabError
from emulated_dom0.folders import LAB_SOURCES, lab_folders
from emulated_dom0.running.agent_install import GUESTS, GUESTS_FOLDER
from emulated_dom0.running.process import Process

from megafleet.fleet_file.parser import parse_fleet_file

_DEB822 = """\
Types: deb
# a comment
URIs: http://third.example/node
Suites: nodistro
Components: main

Types: deb-src
URIs: http://source.example/debian
Suites: trixie
Components: main

Types: deb
URIs: http://security.example/debian-security
Suites: bookworm-security
Components: main

Types: deb
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
"""
_ONE_LINE = """\
# deb http://commented.example/debian trixie main
deb http://postgres.example/apt bookworm-pgdg main
deb [arch=amd64 signed-by=/usr/share/keyrings/k.gpg] http://old.example/debian bookworm main contrib
"""


@pytest.fixture
def apt_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MIRROR", raising=False)
    (tmp_path / "sources.list.d").mkdir()
    return tmp_path


def test_mirror_is_the_base_archive_of_a_deb822_file(apt_folder: Path) -> None:
    (apt_folder / "sources.list.d" / "debian.sources").write_text(_DEB822)
    assert debian_mirror(apt_folder) == "http://mirror.example/debian"


def test_mirror_is_the_base_archive_of_a_classic_list(apt_folder: Path) -> None:
    (apt_folder / "sources.list").write_text(_ONE_LINE)
    assert debian_mirror(apt_folder) == "http://old.example/debian"


def test_a_disabled_source_is_no_mirror(apt_folder: Path) -> None:
    disabled = _DEB822.replace("URIs: http://mirror", "Enabled: no\nURIs: http://mirror")
    (apt_folder / "sources.list.d" / "debian.sources").write_text(disabled)
    with pytest.raises(LabError, match="MIRROR="):
        debian_mirror(apt_folder)


def test_mirror_of_the_environment_wins(apt_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (apt_folder / "sources.list").write_text(_ONE_LINE)
    monkeypatch.setenv("MIRROR", "http://named.example/debian")
    assert debian_mirror(apt_folder) == "http://named.example/debian"


def test_digest_sees_names_contents_and_the_executable_bit(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("one")
    first = digest(tmp_path)
    assert digest(tmp_path) == first
    script.write_text("two")
    second = digest(tmp_path)
    script.chmod(0o755)
    third = digest(tmp_path)
    script.rename(tmp_path / "renamed")
    assert len({first, second, third, digest(tmp_path)}) == 4


def test_the_initramfs_loads_dependencies_first_and_each_module_once(tmp_path: Path) -> None:
    modules = tmp_path / "usr/lib/modules/6.12"
    modules.mkdir(parents=True)
    needed = {
        "virtio_pci.ko.xz": "virtio-ring.ko.xz virtio.ko.xz",
        "virtio_blk.ko.xz": "virtio-ring.ko.xz virtio.ko.xz",
        "virtio-ring.ko.xz": "virtio.ko.xz",
        "virtio.ko.xz": "",
        "ext4.ko.xz": "jbd2.ko.xz",
        "jbd2.ko.xz": "",
    }
    for name in needed:
        (modules / name).write_bytes(lzma.compress(f"code of {name}".encode()))
    table = "".join(f"{name}: {others}\n" for name, others in needed.items())
    (modules / "modules.dep").write_text(table)
    (modules / "modules.builtin").write_text("kernel/crypto/crc32c_generic.ko\n")
    (tmp_path / "usr/bin").mkdir()
    (tmp_path / "usr/bin/busybox").write_bytes(b"busybox")

    write_initramfs(tmp_path, "6.12", tmp_path / "initramfs")

    archive = (tmp_path / "initramfs").read_bytes()
    order = ["virtio", "virtio_ring", "virtio_pci", "virtio_blk", "jbd2", "ext4"]
    assert "".join(f"{name}.ko\n" for name in order).encode() in archive
    assert archive.count(b"code of virtio.ko.xz") == 1
    assert len(archive) % 4 == 0


def test_a_process_is_known_by_its_start_time_too() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        process = Process.of(child.pid)
        assert process.alive()
        impostor = Process(process.pid, process.started + 1)
        assert not impostor.alive()
        impostor.stop()
        assert process.alive()
        process.stop()
        assert not process.alive()


def test_a_failed_command_shows_the_end_of_its_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pytest.raises(LabError, match=r"status 3(?s:.*)no such mirror"):
        run_logged(["sh", "-c", "echo no such mirror; exit 3"], log=log, deadline=30)


def test_a_late_command_ends_with_its_children(tmp_path: Path) -> None:
    fifo = tmp_path / "held open by the child"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    script = f"exec 3>'{fifo}'; sleep 1000 & wait"
    with pytest.raises(LabError, match="did not end"):
        run_logged(["sh", "-c", script], log=tmp_path / "log", deadline=1)
    os.set_blocking(reader, True)
    assert os.read(reader, 1) == b""  # at the end of file: nobody holds it any more
    os.close(reader)


def test_a_folder_that_cannot_be_made_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MEGAFLEET_LAB_DIR", str(tmp_path / "file" / "lab"))
    with pytest.raises(LabError, match="MEGAFLEET_LAB_DIR"):
        lab_folders()


@pytest.mark.parametrize("name", ["lab-tiny", "lab-linux"])
def test_the_labs_samples_ask_for_what_the_lab_has(name: str) -> None:
    sample = LAB_SOURCES.parent / "samples" / f"{name}.yaml"
    spec = parse_fleet_file(sample.read_text(), sample.name).spec
    built = {f"/{GUESTS_FOLDER}/{guest}" for guest in GUESTS}
    assert {spec.boot.kernel, spec.boot.initrd} <= {*built, ""}
    tank = (LAB_SOURCES / "rootfs/usr/local/sbin/make-tank").read_text()
    assert f"zfs snapshot tank/{spec.image.name}@{spec.image.snapshot}" in tank
    networks = LAB_SOURCES / "rootfs/etc/systemd/network"
    bridges = {file.stem.partition("-")[2] for file in networks.glob("*.netdev")}
    assert {spec.network.bridge} <= {*bridges, ""}


@pytest.mark.parametrize(
    ("typed", "handed"), [(["RUN=echo a; echo b"], "[ssh][echo a; echo b]"), ([], "[ssh]")]
)
def test_a_command_for_the_dom0_is_run_there_as_a_whole(typed: list[str], handed: str) -> None:
    """Not its first part there, and the rest here."""
    made = subprocess.run(
        ["make", "-s", "-f", "deploy/lab/lab.mk", "lab-ssh", "LAB=printf '[%s]'", *typed],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert made.stdout == handed
