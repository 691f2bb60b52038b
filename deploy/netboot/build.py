#!/usr/bin/env python3
"""One image for all dom0s, to be booted over the network (make netboot): Debian 13 with QEMU, Xen,
libvirt and the packaged agent, all of it in the initrd.

build.py PACKAGES FOLDER takes megafleet-agent_*.deb from the folder PACKAGES, and puts vmlinuz,
initrd.img, xen.gz, boot.ipxe and grub.cfg into FOLDER. NETBOOT_PACKAGES="a b" names further
packages of Debian. Root is needed, mmdebstrap, and mksquashfs. Python's standard library only.
"""

import os
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lab"))

from emulated_dom0.building import cpio  # noqa: E402
from emulated_dom0.building.chroot import bootstrap, run_inside, scratch_folder  # noqa: E402
from emulated_dom0.building.digest import digest  # noqa: E402
from emulated_dom0.building.kernel_modules import modules_in_order  # noqa: E402
from emulated_dom0.building.mirror import debian_mirror  # noqa: E402
from emulated_dom0.commands import Stopwatch, run_logged  # noqa: E402
from emulated_dom0.errors import LabError  # noqa: E402

ROOTFS = HERE / "rootfs"
EXAMPLES = ("boot.ipxe", "grub.cfg")
_SYSTEM = (
    "linux-image-amd64",
    "busybox-static",
    "kmod",
    "udev",
    "systemd-sysv",
    "systemd-resolved",
    "systemd-timesyncd",
    "dbus",
    "iproute2",
    "procps",
    "e2fsprogs",
    "xfsprogs",
)
_AGENT = ("python3", "python3-libvirt", "libgcc-s1", "libstdc++6", "adduser")
_QEMU = ("qemu-system-x86", "qemu-utils", "libvirt-daemon-system", "libvirt-clients")
_XEN = (
    "xen-hypervisor-4.20-amd64",
    "xen-utils-4.20",
    "xen-utils-common",
    "libvirt-daemon-driver-xen",
)
# The initramfs is made here, and holds the whole system: what packages would make is not wanted.
_HOOKS = (
    "--essential-hook="
    'chroot "$1" dpkg-divert --local --add --divert /usr/sbin/update-initramfs.stock'
    ' --no-rename /usr/sbin/update-initramfs; ln -s /bin/true "$1/usr/sbin/update-initramfs"',
)
_MASKED = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "libvirt-guests.service",
    "logrotate.timer",
    "xendomains.service",
)
_ENABLED = (
    "systemd-networkd.service",
    "systemd-resolved.service",
    "systemd-timesyncd.service",
    "libvirtd.service",
    "megafleet-state.service",
    "megafleet-host.service",
)
_MODULES = ("loop", "squashfs", "overlay")
_SYSTEM_FILE = "megafleet.squashfs"
# What is written goes to memory, above the system, which is read only.
_INIT = f"""#!/bin/busybox sh
b=/bin/busybox
$b mount -t devtmpfs dev /dev
while read -r module; do $b insmod "/modules/$module"; done </modules/order
$b mount -t squashfs -o loop,ro /{_SYSTEM_FILE} /system || exec $b sh
$b mount -t tmpfs -o mode=755,size=80% memory /memory
$b mkdir /memory/written /memory/work
$b mount -t overlay -o lowerdir=/system,upperdir=/memory/written,workdir=/memory/work root /root
$b mount --move /dev /root/dev
exec $b switch_root /root /sbin/init
"""


def build(packages: Path, target: Path, cache: Path) -> None:
    """Raises LabError."""
    deb = _agent_package(packages)
    if os.geteuid() != 0:
        raise LabError("making the image needs root")
    if shutil.which("mksquashfs") is None:
        raise LabError("mksquashfs is missing: apt-get install squashfs-tools")
    watch, log = Stopwatch("netboot"), cache / "netboot.log"
    cache.mkdir(parents=True, exist_ok=True)
    root = _root(cache, log)
    watch.say("packages of Debian ready")
    with scratch_folder(cache, "netboot") as scratch:
        tree, result = scratch / "tree", scratch / "result"
        tree.mkdir()
        result.mkdir()
        run_logged(
            ["tar", "-C", tree, "--numeric-owner", "--xattrs", "--xattrs-include=*", "-xf", root],
            log=log, deadline=300,
        )  # fmt: skip
        _install(tree, deb, log)
        _configure(tree, log)
        watch.say(f"{deb.name} installed")
        kernel = _take_kernels(tree, result)
        squashed = scratch / _SYSTEM_FILE
        run_logged(
            ["mksquashfs", tree, squashed, "-comp", "zstd", "-Xcompression-level", "9",
             "-noappend", "-no-progress", "-quiet", "-e", "boot"],
            log=log, deadline=1800,
        )  # fmt: skip
        _write_initrd(tree, kernel, squashed, result / "initrd.img")
        for name in EXAMPLES:
            shutil.copyfile(HERE / name, result / name)
        target.mkdir(parents=True, exist_ok=True)
        for made in result.iterdir():
            shutil.move(made, target / made.name)
    size = (target / "initrd.img").stat().st_size >> 20
    watch.say(f"{target}: vmlinuz, initrd.img ({size} MiB), xen.gz, {', '.join(EXAMPLES)}")


def _agent_package(folder: Path) -> Path:
    found = sorted(folder.glob("megafleet-agent_*.deb"))
    if len(found) != 1:
        raise LabError(f"{folder} has no megafleet-agent_*.deb, or several: make deb SERIES=trixie")
    return found[0]


def _root(cache: Path, log: Path) -> Path:
    """The packages of Debian, as a tar file; made once."""
    further = os.environ.get("NETBOOT_PACKAGES", "").split()
    wanted = (*_SYSTEM, *_AGENT, *_QEMU, *_XEN, *further)
    made = cache / f"netboot-root-{digest(*wanted, *_HOOKS)}.tar"
    if not made.exists():
        with scratch_folder(cache, "netboot-root") as scratch:
            fresh = scratch / "root.tar"
            bootstrap(fresh, wanted, debian_mirror(), log, _HOOKS)
            for old in cache.glob("netboot-root-*.tar"):
                old.unlink()
            fresh.rename(made)
    return made


def _install(tree: Path, deb: Path, log: Path) -> None:
    """Nothing is downloaded: what the package depends on is there."""
    inside = tree / "tmp" / deb.name
    shutil.copyfile(deb, inside)
    run_inside(tree, ["dpkg", "--install", f"/tmp/{deb.name}"], log, deadline=600)
    inside.unlink()


def _configure(tree: Path, log: Path) -> None:
    """Nothing in it tells one dom0 from another."""
    for source in sorted(path for path in ROOTFS.rglob("*") if path.is_file()):
        file = tree / source.relative_to(ROOTFS)
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, file)
        file.chmod(0o755 if source.stat().st_mode & 0o100 else 0o644)
    # What guests of Xen print is read from these logs.
    with open(tree / "etc/default/xen", "a") as settings:
        settings.write("\nXENCONSOLED_ARGS='--log=guest'\n")
    (tree / "var/log/xen/console").mkdir(parents=True, exist_ok=True)
    (tree / "etc/machine-id").write_text("")
    (tree / "etc/hostname").unlink(missing_ok=True)
    (tree / "etc/libvirt/qemu/networks/autostart/default.xml").unlink(missing_ok=True)
    resolver = tree / "etc/resolv.conf"
    resolver.unlink(missing_ok=True)
    resolver.symlink_to("../run/systemd/resolve/stub-resolv.conf")
    run_inside(tree, ["systemctl", "mask", *_MASKED], log)
    run_inside(tree, ["systemctl", "enable", *_ENABLED], log)


def _take_kernels(tree: Path, result: Path) -> str:
    """The release of the kernel. Xen is beside it, for GRUB and iPXE to load first."""
    (kernel,) = (tree / "boot").glob("vmlinuz-*")
    (xen,) = (tree / "boot").glob("xen-*-amd64.gz")
    shutil.copyfile(kernel, result / "vmlinuz")
    shutil.copyfile(xen, result / "xen.gz")
    return kernel.name.removeprefix("vmlinuz-")


def _write_initrd(tree: Path, kernel: str, squashed: Path, target: Path) -> None:
    modules = list(modules_in_order(tree / "usr/lib/modules" / kernel, _MODULES))
    order = "".join(f"{module.name}.ko\n" for module in modules)
    entries = [
        *(cpio.folder(name) for name in ("bin", "dev", "memory", "modules", "root", "system")),
        cpio.CONSOLE,
        cpio.program("bin/busybox", (tree / "usr/bin/busybox").read_bytes()),
        cpio.program("init", _INIT.encode()),
        cpio.file("modules/order", order.encode()),
        *(cpio.file(f"modules/{module.name}.ko", module.content()) for module in modules),
        cpio.file(_SYSTEM_FILE, squashed.read_bytes()),
    ]
    target.write_bytes(cpio.archive(entries))


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit("usage: build.py PACKAGES FOLDER")
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    try:
        build(Path(sys.argv[1]), Path(sys.argv[2]), Path(home) / "megafleet" / "netboot")
    except LabError as error:
        sys.exit(f"netboot: {error}")


if __name__ == "__main__":
    main()
