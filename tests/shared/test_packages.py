"""The Debian packages: what they lock, what their scripts are, and what is in built ones."""

from __future__ import annotations

import os
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


RELEASE = "0.2.0"


def _upgrade(
    folder: Path, *words: str, offered: str
) -> tuple[subprocess.CompletedProcess[str], str]:
    """The agent's upgrade with an apt that has these versions; and what that was asked to do."""
    asked = folder / "asked"
    lists = "".join(
        f"echo ' megafleet-agent | {one} | file:/srv main'\n" for one in offered.split()
    )
    for name, script in {
        "apt-get": f'echo "$@" >>{asked}\n',
        "apt-cache": f'[ "$*" = "madison megafleet-agent" ] || exit 9\n{lists}',
    }.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}")
        (folder / name).chmod(0o755)
    # As systemd runs it; else it asks systemd for that where there is one.
    around = {**os.environ, "PATH": f"{folder}:/usr/bin:/bin", "MEGAFLEET_UPGRADE_UNIT": "1"}
    said = subprocess.run(
        [PACKAGES / "upgrade-agent", *words],
        capture_output=True, text=True, env=around, check=False,
    )  # fmt: skip
    return said, asked.read_text() if asked.exists() else ""


def test_the_agents_upgrade_installs_the_one_package_of_that_release(tmp_path: Path) -> None:
    debian = re.search(r'VERSION_ID="?([0-9]+)', Path("/etc/os-release").read_text())
    mine = f"{RELEASE}~deb{debian[1] if debian else ''}"
    said, asked = _upgrade(tmp_path, RELEASE, offered=f"0.3.0 {mine} 0.2.0~deb99 10.2.0")
    assert said.returncode == 0, said.stderr
    update, install = asked.splitlines()
    assert update.endswith("update")
    assert install.endswith(f"install megafleet-agent={mine}")
    assert "--only-upgrade" in install and "--no-remove" in install
    assert "APT::Get::Upgrade-By-Source-Package=false" in install, "no controller beside it"
    assert "allow" not in install, "neither unsigned packages nor older ones"


def test_a_release_that_no_trusted_repository_has_is_named_and_nothing_is_installed(
    tmp_path: Path,
) -> None:
    said, asked = _upgrade(tmp_path, RELEASE, offered="0.3.0 0.12.0 0.2.0.1")
    assert said.returncode == 1 and "install" not in asked
    assert said.stderr.strip().splitlines()[-1] == (
        "no repository that this host trusts has megafleet-agent 0.2.0"
    )


@pytest.mark.parametrize(
    "words", [(), ("0.2", "x"), ("",), ("-o",), ("0.2=1",), ("0.2 x",), ("0/x",)]
)
def test_the_agents_upgrade_takes_nothing_but_a_release(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    said, asked = _upgrade(tmp_path, *words, offered="0.2")
    assert said.returncode == 1 and not asked


def test_the_walk_knows_each_command_of_readmes_chapter() -> None:
    """Whoever changes the chapter is told here; that it works, `make walk-test` tells."""
    chapter = (ROOT / "README.md").read_text().partition("\n## A real cluster\n")[2]
    chapter = chapter.partition("\nWhat each of these does")[0]
    commands = re.findall(r"^    (\S.*)$", chapter, re.MULTILINE)
    walk = (PACKAGES / "walk.sh").read_text()
    known = re.findall(r'^    "?([a-z][^"*\n]*)"?\*\)', walk, re.MULTILINE)
    assert len(commands) > 8 and len(known) > 5
    unknown = [one for one in commands if not one.startswith(tuple(known))]
    assert not unknown, "teach deploy/packages/walk.sh where these are typed"


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
    if name == "agent":
        assert "./usr/lib/megafleet/agent/bin/upgrade-agent" in names
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
