"""The packages of the dom0, installed into a tar file that the image is made from."""

from pathlib import Path

from .chroot import bootstrap, scratch_folder
from .digest import digest

_SYSTEM = (
    "linux-image-amd64",
    "initramfs-tools",
    "busybox-static",
    "kmod",
    "udev",
    "systemd-sysv",
    "dbus",
    "iproute2",
    "bridge-utils",
    "openssh-server",
    "procps",
    "psmisc",
    "less",
    "strace",
    "lsof",
    "e2fsprogs",
    "iputils-ping",
    "qemu-utils",
)
_ZFS = ("zfsutils-linux", "zfs-zed", "python3-pyzfs")
_XEN = ("xen-hypervisor-4.20-amd64", "xen-utils-4.20", "xen-utils-common", "xenstore-utils")
_LIBVIRT = (
    "libvirt-daemon-system",
    "libvirt-daemon-driver-xen",
    "libvirt-clients",
    "python3-libvirt",
)
_PYTHON = ("python3", "python3-venv")
# The image's initramfs is made apart (initramfs.py); what packages would make is not wanted.
_HOOKS = (
    "--essential-hook="
    'chroot "$1" dpkg-divert --local --add --divert /usr/sbin/update-initramfs.stock'
    ' --no-rename /usr/sbin/update-initramfs; ln -s /bin/true "$1/usr/sbin/update-initramfs"',
)


def root_key() -> str:
    return digest(Path(__file__))


def build_root(cache: Path, mirror: str, log: Path) -> Path:
    """The cached tar file of the tree, made first if absent."""
    archive = cache / f"root-{root_key()}.tar"
    if not archive.exists():
        with scratch_folder(cache, "root") as scratch:
            fresh = scratch / "root.tar"
            bootstrap(fresh, _SYSTEM + _ZFS + _XEN + _LIBVIRT + _PYTHON, mirror, log, _HOOKS)
            fresh.rename(archive)
    return archive
