"""What makes the dom0 out of installed packages: everything in `rootfs/`, and what cannot be said
as a file there."""

import shutil
import tomllib
from pathlib import Path

from ..errors import LabError
from ..folders import CHECKOUT, DOM0_PROGRAMS, LAB_SOURCES
from .chroot import run_inside
from .digest import digest

_ROOTFS = LAB_SOURCES / "rootfs"
_VENV = "/opt/megafleet/venv"
SITE_PACKAGES = "opt/megafleet/venv/lib/python3.13/site-packages"
# Where `make lab` puts the checkout's sources; the environment finds them there.
SOURCES = "/opt/megafleet/src"
_SCRIPTS = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["scripts"]
_MODULE, _, _FUNCTION = _SCRIPTS["fleet-agent"].partition(":")
_PROGRAM = f"""#!{_VENV}/bin/python
from {_MODULE} import {_FUNCTION}

{_FUNCTION}()
"""
# Periodic work, session keeping (a login over ssh would start a manager for root), waiting for a
# network or for pools of an earlier boot (there are none), and guests started behind the agent's
# back: none of it belongs in this dom0.
_MASKED = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty@tty1.service",
    "libvirt-guests.service",
    "logrotate.timer",
    "man-db.timer",
    "systemd-logind.service",
    "systemd-machined.service",
    "systemd-networkd-wait-online.service",
    "systemd-timesyncd.service",
    "systemd-udev-settle.service",
    "xendomains.service",
    "zfs-import-cache.service",
    "zfs-import-scan.service",
    "zfs-volume-wait.service",
    "zfs-zed.service",
)
_ENABLED = ("systemd-networkd.service", "ssh.service", "libvirtd.service", "megafleet-lab.target")


# Where the dom0 keeps the hotplug program for disks; Xen calls it by the link in its own folder.
_BLOCK_PROGRAM = "/usr/lib/megafleet/block-phy"


def _block_program() -> Path:
    program = DOM0_PROGRAMS / "block-phy"
    if not program.exists():
        raise LabError(f"{program} is missing; run: make hotplug")
    return program


def setup_key() -> str:
    return digest(Path(__file__), _ROOTFS, _block_program(), _PROGRAM)


def configure(tree: Path, public_key: Path, log: Path) -> None:
    """Settings, units, Xen's block script, console logs, and who may log in as root."""
    stock = ["dpkg-divert", "--local", "--rename", "--add"]
    block = "/etc/xen/scripts/block"
    run_inside(tree, [*stock, "--divert", f"{block}.stock", block], log)
    _copy_rootfs(tree)
    installed = tree / _BLOCK_PROGRAM.lstrip("/")
    installed.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(_block_program(), installed)
    installed.chmod(0o755)
    (tree / block.lstrip("/")).symlink_to(_BLOCK_PROGRAM)
    _append(tree / "etc/default/xen", "\n# The agent reads guests' consoles from these logs.\n")
    _append(tree / "etc/default/xen", "XENCONSOLED_ARGS='--log=guest'\n")
    (tree / "var/log/xen/console").mkdir(parents=True, exist_ok=True)
    _accept_emulated_cpu(tree)
    (tree / "etc/libvirt/qemu/networks/autostart/default.xml").unlink(missing_ok=True)
    authorized = tree / "root/.ssh/authorized_keys"
    authorized.parent.mkdir(mode=0o700, exist_ok=True)
    shutil.copy(public_key, authorized)
    run_inside(tree, ["passwd", "-d", "root"], log)
    run_inside(tree, ["systemctl", "mask", *_MASKED], log)
    run_inside(tree, ["systemctl", "enable", *_ENABLED], log)


def _copy_rootfs(tree: Path) -> None:
    """Owned by root whoever owns the checkout; only the executable bit is taken over."""
    for source in sorted(path for path in _ROOTFS.rglob("*") if path.is_file()):
        target = tree / source.relative_to(_ROOTFS)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        target.chmod(0o755 if source.stat().st_mode & 0o100 else 0o644)


def _append(file: Path, text: str) -> None:
    with open(file, "a") as opened:
        opened.write(text)


def _accept_emulated_cpu(tree: Path) -> None:
    """QEMU's emulation has no CPUID VME, without which libvirt finds no model for the host's CPU
    and its Xen driver does not start ("Cannot find suitable CPU model for given data")."""
    model = tree / "usr/share/libvirt/cpu_map/x86_486.xml"
    lines = model.read_text().splitlines(keepends=True)
    kept = [line for line in lines if "'vme'" not in line]
    if len(kept) != len(lines) - 1:
        raise LabError(f"expected one line with 'vme' in {model}; libvirt's CPU map has changed")
    model.write_text("".join(kept))


def install_wheels(tree: Path, wheels: Path, log: Path) -> None:
    """The environment that the agent runs in; it sees Debian's libvirt and ZFS bindings too."""
    staged = tree / "opt/megafleet/wheels"
    shutil.copytree(wheels, staged)
    names = sorted(f"/opt/megafleet/wheels/{wheel.name}" for wheel in wheels.iterdir())
    run_inside(tree, ["python3", "-m", "venv", "--system-site-packages", _VENV], log)
    install = [f"{_VENV}/bin/pip", "install", "--no-index", "--no-deps", *names]
    run_inside(tree, install, log, deadline=600)
    roots = f"{SOURCES}/proto\n{SOURCES}/agent\n"
    (tree / SITE_PACKAGES / "megafleet.pth").write_text(roots)
    program = tree / _VENV.lstrip("/") / "bin" / "fleet-agent"
    program.write_text(_PROGRAM)
    program.chmod(0o755)
    shutil.rmtree(staged)
