"""Which of libvirt's drivers a definition is for."""

from __future__ import annotations

from enum import StrEnum


class Flavour(StrEnum):
    """The value is <domain type=...>."""

    XEN = "xen"
    KVM = "kvm"  # QEMU with KVM
    TCG = "qemu"  # QEMU that emulates
    TEST = "test"  # libvirt's in-process mock

    @property
    def is_qemu(self) -> bool:
        return self in (Flavour.KVM, Flavour.TCG)
