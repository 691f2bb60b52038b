"""The Debian packages: what they lock, what their scripts are, and what is in built ones."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ROOT / "deploy" / "packages"
SCRIPTS = sorted(
    path
    for kind in ("postinst", "prerm", "postrm")
    for path in [
        *(PACKAGES / "debian").glob(f"*.{kind}"),
        *(PACKAGES / "debian").glob(f"*.{kind}.in"),
    ]
)
BUILT = sorted((ROOT / "dist" / "debian").glob("*/*.deb"))


@pytest.mark.parametrize("name", ["controller", "client"])
def test_packages_carry_the_versions_that_are_tested(name: str) -> None:
    tested = _locked(ROOT / "requirements.lock")
    assert _locked(PACKAGES / f"{name}.lock") <= tested


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.name))
def test_maintainer_scripts_stop_at_the_first_failure_and_take_debhelpers_part(
    script: Path,
) -> None:
    lines = script.read_text().splitlines()
    assert lines[:2] == ["#!/bin/sh", "set -e"]
    assert "#DEBHELPER#" in lines
    assert subprocess.run(["sh", "-n", script], check=False).returncode == 0


def _purge(folder: Path) -> subprocess.CompletedProcess[str]:
    """What the agent's package does at its purge, to the machine that the folder is."""
    script = (PACKAGES / "debian" / "megafleet-agent.postrm").read_text()
    for there in ("/usr/lib/megafleet", "/etc/megafleet", "/var/lib/megafleet"):
        script = script.replace(there, f"{folder}{there}")
    return subprocess.run(
        ["sh", "-s", "purge"], input=script, capture_output=True, text=True, check=True
    )


@pytest.mark.parametrize("parent", ["storage", "disks/fast", "."])
def test_a_purge_leaves_disks_that_a_program_has_open_wherever_they_are(
    tmp_path: Path, parent: str
) -> None:
    disk = tmp_path / "var/lib/megafleet" / parent / "spv-1.raw"
    disk.parent.mkdir(parents=True)
    with disk.open("wb"):
        assert "is left" in _purge(tmp_path).stderr
        assert disk.exists()
    assert not _purge(tmp_path).stderr
    assert not (tmp_path / "var/lib/megafleet").exists()


def test_the_programs_of_packages_are_those_of_the_project() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    section = text.partition("[project.scripts]")[2].partition("\n[")[0]
    scripts = dict(re.findall(r'^(\S+) = "([^"]+)"', section, re.MULTILINE))
    build = (PACKAGES / "build.sh").read_text()
    packed = dict(re.findall(r"\b(fleet[a-z-]*)=(fleet[\w.]+:\w+)", build))
    assert packed == scripts


@pytest.mark.skipif(
    not BUILT or not shutil.which("dpkg-deb"), reason="no packages are built here: make deb"
)
@pytest.mark.parametrize("package", BUILT, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_package_holds_what_it_is_for_and_nobodys_settings(package: Path) -> None:
    listed = subprocess.run(
        ["dpkg-deb", "--fsys-tarfile", package], capture_output=True, check=True
    )
    names = subprocess.run(
        ["tar", "-t"], input=listed.stdout, capture_output=True, check=True
    ).stdout.decode().split("\n")  # fmt: skip
    name = package.name.partition("_")[0].removeprefix("megafleet-")
    wanted = {
        "agent": "./usr/bin/fleet-agent",
        "client": "./usr/bin/fleetctl",
        "controller": "./usr/bin/fleet-controller",
        "guests": "./usr/lib/megafleet/guests/tiny.elf",
    }
    assert wanted[name] in names
    assert not [one for one in names if one.startswith(("./etc/", "./opt/", "./var/"))]
    assert not [one for one in names if one.endswith((".pyc", "/wall/page/", "direct_url.json"))]
    if name in ("agent", "controller"):
        assert any(one.endswith(f"/systemd/system/fleet-{name}.service") for one in names)
    control = subprocess.run(
        f"dpkg-deb --ctrl-tarfile {package} | tar -xO", shell=True, capture_output=True, check=True
    ).stdout  # fmt: skip
    assert not re.findall(rb"@[A-Z_]+@", control)
    code = {"agent": "fleet_agent", "client": "fleetctl", "controller": "fleet_controller"}
    for other in set(code) - {name}:
        assert not [one for one in names if one.endswith(f"/site-packages/{code[other]}/")]


def _locked(lock: Path) -> set[tuple[str, str]]:
    return set(re.findall(r"^([a-z0-9.-]+)==([^ ;]+)", lock.read_text(), re.MULTILINE))
