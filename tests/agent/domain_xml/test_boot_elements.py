"""The three ways to start, as definitions, and what each hypervisor cannot carry of them.

What Xen's driver reads back cannot be asked where no Xen is; libvirt's own schema says that it
would be read.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from lxml import etree

from fleet.v1 import types_pb2 as types
from fleet_agent.core.domain.boot_elements import PVGRUB, UefiFiles
from fleet_agent.core.domain.differences import differences
from fleet_agent.core.domain.domain_mark import parsed
from fleet_agent.core.domain.domain_xml import domain_xml
from fleet_agent.core.domain.flavour import Flavour
from fleet_agent.core.domain.uefi_files import uefi_files
from tests.agent.domain_xml.asked_domains import DISK, Change, batch

SCHEMA = Path("/usr/share/libvirt/schemas/domain.rng")
UEFI = UefiFiles("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd")
BIOS = types.Boot(firmware=types.FIRMWARE_BIOS)
EFI = types.Boot(firmware=types.FIRMWARE_UEFI)
LOADER = types.Boot(loader=types.LOADER_PVGRUB)


def by(boot: types.Boot) -> Change:
    return lambda spec: spec.boot.CopyFrom(boot)


def at(target: str) -> Change:
    return lambda spec: setattr(spec.disk, "target", target)


def further(**disk: object) -> Change:
    return lambda spec: spec.more_disks.add(path="/srv/{name}.iso", **disk)


def xml(flavour: Flavour, *changes: Change, uefi: UefiFiles | None = UEFI) -> str:
    return domain_xml(batch(*changes), 250, DISK, flavour, "/var/log/spv-250.log", uefi)


def os_of(flavour: Flavour, boot: types.Boot, uefi: UefiFiles | None = UEFI) -> str:
    found = parsed(xml(flavour, by(boot), uefi=uefi)).find("os")
    assert found is not None
    return "".join(etree.tostring(one, encoding="unicode") for one in found)


FULL = '<type arch="x86_64" machine="xenfv">hvm</type>'
EFI_LOADER = f'<loader readonly="yes" type="pflash">{UEFI.code}</loader>'


@pytest.mark.parametrize(
    ("flavour", "boot", "elements"),
    [
        (Flavour.TCG, BIOS, '<type>hvm</type><bios useserial="yes"/>'),
        (Flavour.KVM, EFI, f'<type>hvm</type>{EFI_LOADER}<nvram template="{UEFI.variables}"/>'),
        (Flavour.XEN, BIOS, f'{FULL}<boot dev="hd"/>'),
        (Flavour.XEN, EFI, f'{FULL}{EFI_LOADER}<boot dev="hd"/>'),
        (
            Flavour.XEN,
            LOADER,
            f'<type arch="x86_64" machine="xenpv">linux</type><kernel>{PVGRUB}</kernel>',
        ),
    ],
)
def test_each_way_to_start_is_a_template_of_its_own(
    flavour: Flavour, boot: types.Boot, elements: str
) -> None:
    assert os_of(flavour, boot) == elements


@pytest.mark.parametrize("flavour", [Flavour.TCG, Flavour.KVM])
@pytest.mark.parametrize("boot", [BIOS, EFI])
def test_firmware_starts_from_the_clone_whatever_disks_stand_before_it(
    flavour: Flavour, boot: types.Boot
) -> None:
    root = parsed(xml(flavour, by(boot), at("vdb"), further(target="vda", read_only=True)))
    first = [one.find("target").get("dev") for one in root.iterfind("devices/disk[boot]")]  # type: ignore[union-attr]
    assert first == ["vdb"]


@pytest.mark.parametrize(
    ("flavour", "bus"), [(Flavour.TCG, "ide"), (Flavour.KVM, "ide"), (Flavour.XEN, "xen")]
)
def test_a_cd_drive_is_one_and_read_only(flavour: Flavour, bus: str) -> None:
    root = parsed(xml(flavour, further(target="hdc", read_only=True, cdrom=True)))
    (drive,) = root.iterfind("devices/disk[@device='cdrom']")
    target = drive.find("target")
    assert target is not None and (target.get("dev"), target.get("bus")) == ("hdc", bus)
    assert drive.find("readonly") is not None and drive.find("boot") is None


def test_a_partition_is_a_disk_of_xen() -> None:
    root = parsed(xml(Flavour.XEN, at("xvda2"), further(target="xvda1", read_only=True)))
    found = [str(one.get("dev")) for one in root.iterfind("devices/disk/target")]
    assert found == ["xvda2", "xvda1"]


def test_interfaces_with_a_base_have_its_addresses_and_so_has_the_command_line() -> None:
    def based(spec: types.FleetSpec) -> None:
        spec.network.mac_base, spec.boot.cmdline = "00:16:3E:00:00:10", "mac={mac}"
        spec.more_networks.add(bridge="br1")
        spec.more_networks.add(bridge="br1", mac_base="52:54:00:00:00:00")

    root = parsed(xml(Flavour.TCG, based))
    macs = [str(one.get("address")) for one in root.iterfind("devices/interface/mac")]
    assert macs == ["00:16:3e:00:01:0a", "06:10:07:00:00:fa", "52:54:00:00:00:fa"]
    assert root.findtext("os/cmdline") == "mac=00:16:3e:00:01:0a"
    with pytest.raises(ValueError, match="mac_base 00:16:3e:ff:ff:ff has no address for index 250"):
        xml(Flavour.TCG, lambda spec: setattr(spec.network, "mac_base", "00:16:3e:ff:ff:ff"))


def test_a_guest_of_xens_firmware_has_no_emulated_network_card() -> None:
    model = parsed(xml(Flavour.XEN, by(BIOS))).find("devices/interface/model")
    assert model is not None and model.get("type") == "netfront"


@pytest.mark.parametrize(
    ("flavour", "changes", "sentence"),
    [
        (Flavour.TCG, (by(LOADER),), "boot.loader: pvgrub is Xen's; QEMU boots by boot.kernel or"),
        (Flavour.KVM, (at("xvda2"),), "disk.target: xvda2 is a partition, and only Xen has"),
        (
            Flavour.TCG,
            (further(target="vdb1", read_only=True),),
            "disks[0].target: vdb1 is a partition",
        ),
        (Flavour.XEN, (at("vda"),), "disk.target: Xen has xvda, hda to hdd and sda to sdp; not"),
        (
            Flavour.XEN,
            (further(target="hde", read_only=True),),
            "disks[0].target: Xen has xvda, hda to",
        ),
        (Flavour.XEN, (by(BIOS), at("xvdb")), "disk.target: Xen's firmware starts from the first"),
        (
            Flavour.XEN,
            (by(BIOS), further(target="hda", read_only=True, cdrom=True)),
            "disks[0].target: hda is the same drive as xvda to Xen's firmware",
        ),
        (Flavour.TCG, (by(types.Boot()),), "boot: one of kernel, firmware and loader is needed; n"),
        (
            Flavour.TCG,
            (lambda spec: spec.boot.MergeFrom(BIOS),),
            "boot: one of kernel, firmware and loader is needed; boot.kernel and boot.firmware",
        ),
        (
            Flavour.TCG,
            (lambda spec: spec.boot.ParseFromString(b"\x20\x07"),),
            "boot.firmware: this agent does not know number 7; upgrade it",
        ),
    ],
)
def test_what_a_hypervisor_cannot_carry_is_refused_by_the_name_of_its_field(
    flavour: Flavour, changes: tuple[Change, ...], sentence: str
) -> None:
    with pytest.raises(ValueError) as refusal:
        xml(flavour, *changes)
    assert str(refusal.value).startswith(sentence)


@pytest.mark.parametrize("flavour", [Flavour.XEN, Flavour.TCG])
def test_a_host_without_uefi_says_what_to_install(flavour: Flavour) -> None:
    with pytest.raises(ValueError, match=r"boot\.firmware: this host has no UEFI .* ovmf"):
        xml(flavour, by(EFI), uefi=None)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda root: drop(root, "os/loader"), [f"loader {UEFI.code} was dropped"]),
        (
            lambda root: drop(root, "os/nvram"),
            [f"variables of UEFI from {UEFI.variables} was dropped"],
        ),
        (lambda root: named(root), []),
        (
            lambda root: drop(root, "devices/disk/boot"),
            ["boot order of disk xvda 1 was dropped"],
        ),
    ],
)
def test_what_libvirt_changes_of_how_a_guest_starts_is_named(
    change: Callable[[etree._Element], object], words: list[str]
) -> None:
    asked = xml(Flavour.TCG, by(EFI))
    given = parsed(asked)
    change(given)
    assert differences(asked, etree.tostring(given, encoding="unicode")) == words


def test_another_kind_of_guest_or_of_disk_is_a_difference() -> None:
    cd, disk = (
        xml(Flavour.XEN, further(target="hdc", read_only=True, cdrom=cdrom))
        for cdrom in (True, False)
    )
    assert differences(cd, disk) == [
        "disk hdc is /srv/spv-250.iso (read-only) instead of /srv/spv-250.iso (cdrom) (read-only)"
    ]
    assert "virtualisation is para instead of full" in differences(
        xml(Flavour.XEN, by(BIOS)), xml(Flavour.XEN, by(LOADER))
    )


def drop(root: etree._Element, path: str) -> None:
    found = root.find(path)
    parent = None if found is None else found.getparent()
    assert found is not None and parent is not None
    parent.remove(found)


def named(root: etree._Element) -> None:
    """As libvirt does with the file of variables, whose name is its own affair."""
    found = root.find("os/nvram")
    assert found is not None
    found.text = "/var/lib/libvirt/qemu/nvram/spv-250_VARS.fd"


@pytest.mark.skipif(not SCHEMA.exists(), reason="libvirt's schemas are not installed")
@pytest.mark.parametrize(
    ("flavour", "boot"),
    [
        (flavour, boot)
        for boot in (BIOS, EFI, LOADER, types.Boot(kernel="/boot/vmlinuz"))
        for flavour in (Flavour.XEN, Flavour.KVM, Flavour.TCG)
        if not boot.loader or flavour is Flavour.XEN  # which others refuse
    ],
)
def test_libvirts_schema_takes_every_template(flavour: Flavour, boot: types.Boot) -> None:
    root = parsed(xml(flavour, by(boot), further(target="hdc", read_only=True, cdrom=True)))
    schema = etree.RelaxNG(etree.parse(SCHEMA))
    assert schema.validate(root), schema.error_log


QEMU_LOADERS = """<domainCapabilities><os supported='yes'><loader supported='yes'>
<value>/usr/share/OVMF/OVMF_CODE_4M.ms.fd</value><value>/usr/share/seabios/bios.bin</value>
<value>/usr/share/edk2/ovmf/OVMF_CODE.secboot.fd</value><value>/usr/share/edk2/ovmf/OVMF_CODE.fd
</value></loader></os></domainCapabilities>"""


@pytest.mark.parametrize(
    ("flavour", "capabilities", "there", "files"),
    [
        (
            Flavour.KVM,
            QEMU_LOADERS,
            {"/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd", UEFI.code},
            UefiFiles("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
        ),
        (Flavour.KVM, QEMU_LOADERS, {"/usr/share/edk2/ovmf/OVMF_CODE.fd"}, None),
        (Flavour.TCG, "", {UEFI.code, UEFI.variables}, UEFI),
        (Flavour.TCG, "<a><b", {UEFI.code, UEFI.variables}, UEFI),
        (Flavour.TCG, "", {UEFI.code}, None),
        (
            Flavour.XEN,
            "<domainCapabilities><os><loader><value>/usr/lib/xen-4.17/boot/hvmloader</value>"
            "<value>/usr/lib/xen-4.17/boot/ovmf.bin</value></loader></os></domainCapabilities>",
            {"/usr/lib/xen-4.17/boot/hvmloader", "/usr/lib/xen-4.17/boot/ovmf.bin"},
            UefiFiles("/usr/lib/xen-4.17/boot/ovmf.bin", ""),
        ),
        (Flavour.XEN, "", {"/usr/share/ovmf/OVMF.fd"}, UefiFiles("/usr/share/ovmf/OVMF.fd", "")),
    ],
)
def test_uefi_is_what_libvirt_knows_else_debians_and_never_one_that_wants_signatures(
    flavour: Flavour, capabilities: str, there: set[str], files: UefiFiles | None
) -> None:
    assert uefi_files(capabilities, flavour, there.__contains__) == files
