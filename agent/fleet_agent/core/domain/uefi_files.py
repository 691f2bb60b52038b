"""Which of the host's files are UEFI for guests, from what libvirt says that it knows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lxml import etree

from fleet_agent.core.domain.boot_elements import UefiFiles
from fleet_agent.core.domain.domain_mark import parsed
from fleet_agent.core.domain.flavour import Flavour

# Of Debian's package ovmf, from the newest on. A guest of Xen has one file, and no variables.
_DEBIAN = (
    UefiFiles("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    UefiFiles("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
)
_DEBIAN_XEN = (UefiFiles("/usr/share/ovmf/OVMF.fd", ""),)
# Builds that start only what is signed, or that hold keys.
_SIGNED = ("secboot", ".ms.", "snakeoil", "secure")


def uefi_files(
    capabilities: str, flavour: Flavour, exists: Callable[[str], bool]
) -> UefiFiles | None:
    """`capabilities`: libvirt's answer on what domains it can make; empty where it has none. None
    where this host has no such files."""
    known: tuple[UefiFiles, ...] = _DEBIAN_XEN if flavour is Flavour.XEN else _DEBIAN
    told = [_of(path, flavour) for path in _loaders(capabilities)]
    candidates = [files for files in (*told, *known) if files is not None]
    for files in candidates:
        if exists(files.code) and (not files.variables or exists(files.variables)):
            return files
    return None


def _of(code: str, flavour: Flavour) -> UefiFiles | None:
    """The files of one loader; None where it is no UEFI, or one for signed systems."""
    name = code.rpartition("/")[2]
    if any(word in name.lower() for word in _SIGNED):
        return None
    if flavour is Flavour.XEN:
        return UefiFiles(code, "") if "ovmf" in name.lower() else None
    if "CODE" not in name or not name.endswith(".fd"):
        return None
    return UefiFiles(code, code.removesuffix(name) + name.replace("CODE", "VARS"))


def _loaders(capabilities: str) -> Sequence[str]:
    if not capabilities:
        return ()
    try:
        root = parsed(capabilities)
    except etree.XMLSyntaxError:
        return ()
    return [text for one in root.iterfind("os/loader/value") if (text := (one.text or "").strip())]
