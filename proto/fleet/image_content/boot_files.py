"""What kernels and initrds of images are called: agents put them on hosts, fleets name them."""

from __future__ import annotations

from fleet.image_content.manifest import INITRD, KERNEL


def boot_file(name: str, snapshot: str, part: str) -> str:
    """In a folder of kernels. No name and no snapshot has a `+`, so no two images share a file."""
    return f"{name}+{snapshot}.{part}"


def boot_files(name: str, snapshot: str) -> tuple[str, ...]:
    return tuple(boot_file(name, snapshot, part) for part in (KERNEL, INITRD))
