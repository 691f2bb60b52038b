"""Definitions: what is asked for, what comes back, and whose it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from fleet.identity import MAX_INDEX, Fleet
from fleet.keys import Epoch, Kin, Term
from fleet.ranges import IndexSet
from fleet.v1 import types_pb2 as types
from fleet_agent.core.domain.differences import differences
from fleet_agent.core.domain.disk_elements import defined_disk
from fleet_agent.core.domain.disks import Disk, DiskFormat
from fleet_agent.core.domain.domain_mark import (
    ReadySeen,
    parse_mark,
    parse_ready,
    parsed,
    ready_xml,
)
from fleet_agent.core.domain.domain_xml import command_line, domain_xml
from fleet_agent.core.domain.flavour import Flavour
from fleet_agent.core.domain.marks import FIELDS, Marked, mark_fields, read_mark
from fleet_agent.core.model import Batch, Mark

FLEET = Fleet("8e3a4f62-6a0c-4b3e-9d51-0f6a4c1b7d10", "spv", 7, site=1)
KIN = Kin(FLEET.uid, 3, 41)
MARK = Mark(Term(1, 10), Epoch(1, 20))
DISK = Disk("/dev/zvol/tank/spv-250")
FILE = Disk("/srv/clones/spv-250")
QEMU_DRIVER = {
    "name": "qemu", "type": "raw", "error_policy": "stop", "rerror_policy": "stop",
    "discard": "unmap",
}  # fmt: skip
OVERLAY = replace(FILE, format=DiskFormat.QCOW2, backing="/srv/images/golden@g")

Change = Callable[[types.FleetSpec], object]


def batch(*changes: Change) -> Batch:
    spec = types.FleetSpec(
        memory_bytes=72 << 20,
        vcpus=2,
        boot=types.Boot(kernel="/boot/vmlinuz", initrd="/boot/initrd", cmdline="root=/dev/xvda"),
        disk=types.Disk(target="xvda"),
        network=types.Network(bridge="xenbr0", prefix="10.77.0.0/16"),
    )
    for change in changes:
        change(spec)
    return Batch(FLEET, KIN, spec, MARK, IndexSet.of([250]))


def definition(
    *changes: Change, flavour: Flavour = Flavour.XEN, disk: Disk = DISK
) -> etree._Element:
    return parsed(domain_xml(batch(*changes), 250, disk, flavour, "/var/log/spv-250.log"))


def cmdline(text: str) -> Change:
    return lambda spec: setattr(spec.boot, "cmdline", text)


def address_from(prefix: str) -> Change:
    def change(spec: types.FleetSpec) -> None:
        spec.network.prefix, spec.boot.cmdline = prefix, "ip={address}"

    return change


def attributes(element: etree._Element, path: str) -> dict[str, str]:
    found = element.find(path)
    assert found is not None
    return {str(name): str(value) for name, value in found.attrib.items()}


class TestDefinition:
    def test_a_paravirtualised_guest_whole(self) -> None:
        assert etree.tostring(definition(), encoding="unicode") == (
            '<domain type="xen"><name>spv-250</name>'
            f"<uuid>{FLEET.domain_uuid(250)}</uuid>"
            '<metadata><fleet:vm xmlns:fleet="urn:megafleet:vm:1" '
            'uid="8e3a4f62-6a0c-4b3e-9d51-0f6a4c1b7d10" index="250" generation="3" birth="41" '
            'term="1:10" epoch="1:20"/></metadata>'
            '<memory unit="KiB">73728</memory><vcpu>2</vcpu>'
            '<os><type arch="x86_64" machine="xenpv">linux</type><kernel>/boot/vmlinuz</kernel>'
            "<initrd>/boot/initrd</initrd><cmdline>root=/dev/xvda</cmdline></os>"
            "<on_poweroff>destroy</on_poweroff><on_reboot>restart</on_reboot>"
            "<on_crash>destroy</on_crash>"
            '<devices><disk type="block" device="disk"><driver name="phy"/>'
            '<source dev="/dev/zvol/tank/spv-250"/><target dev="xvda" bus="xen"/></disk>'
            '<interface type="bridge"><mac address="02:10:07:00:00:fa"/>'
            '<source bridge="xenbr0"/></interface>'
            '<console type="pty"><target type="xen" port="0"/></console></devices></domain>'
        )

    def test_a_file_is_a_file_backed_disk(self) -> None:
        disk = definition(disk=Disk("/srv/clones/spv-250")).find("devices/disk")
        assert disk is not None
        assert disk.get("type") == "file"
        assert [child.get("name") or child.get("file") for child in disk] == [
            "file",
            "/srv/clones/spv-250",
            None,
        ]

    def test_kvm_has_raw_virtio_disks_and_writes_its_console_log(self) -> None:
        devices = definition(flavour=Flavour.KVM).find("devices")
        assert devices is not None
        driver, log, model = (
            devices.find(path) for path in ("disk/driver", "serial/log", "interface/model")
        )
        assert driver is not None
        assert (driver.get("name"), driver.get("type")) == ("qemu", "raw")
        assert log is not None
        assert log.get("file") == "/var/log/spv-250.log"
        assert model is not None
        assert model.get("type") == "virtio"

    @pytest.mark.parametrize("flavour", [Flavour.KVM, Flavour.TCG])
    def test_guests_of_qemu_have_acpi_and_no_device_that_nobody_asked_for(
        self, flavour: Flavour
    ) -> None:
        domain = definition(flavour=flavour)
        assert domain.get("type") == flavour.value
        assert domain.find("features/acpi") is not None
        models = [
            (one.tag, one.get("type"), one.get("model"))
            for path in ("devices/controller", "devices/memballoon")
            for one in domain.iterfind(path)
        ]
        assert models == [("controller", "usb", "none"), ("memballoon", None, "none")]

    def test_only_emulation_has_a_translation_cache_and_it_is_bounded(self) -> None:
        cache = definition(flavour=Flavour.TCG).find("features/tcg/tb-cache")
        assert cache is not None and (cache.text, cache.get("unit")) == ("20480", "KiB")
        assert definition(flavour=Flavour.KVM).find("features/tcg") is None
        assert definition().find("features") is None

    def test_a_change_of_the_settings_is_a_difference(self) -> None:
        def xml(flavour: Flavour, log: str) -> str:
            return domain_xml(batch(), 250, DISK, flavour, log)

        asked = xml(Flavour.KVM, "/var/log/new/spv-250.log")
        assert differences(asked, xml(Flavour.KVM, "/var/log/old/spv-250.log")) == [
            "console log is /var/log/old/spv-250.log instead of /var/log/new/spv-250.log"
        ]
        assert differences(asked, xml(Flavour.TCG, "/var/log/new/spv-250.log")) == [
            "translation cache 20480 was added",
            "type is qemu instead of kvm",
        ]

    def test_the_format_of_a_disk_is_told_to_qemu_and_never_probed(self) -> None:
        for disk, told in ((DISK, "raw"), (FILE, "raw"), (OVERLAY, "qcow2")):
            root = definition(flavour=Flavour.TCG, disk=disk)
            assert attributes(root, "devices/disk/driver")["type"] == told
            for driver in definition(
                lambda spec: spec.more_disks.add(target="vdb", path="/srv/x.iso"),
                flavour=Flavour.KVM,
            ).iterfind("devices/disk/driver"):
                assert driver.get("type") == "raw"

    def test_an_overlay_names_its_image_as_raw_and_as_the_last_of_the_chain(self) -> None:
        backing = definition(flavour=Flavour.KVM, disk=OVERLAY).find("devices/disk/backingStore")
        assert backing is not None
        assert etree.tostring(backing, encoding="unicode") == (
            '<backingStore type="file"><format type="raw"/><source file="/srv/images/golden@g">'
            '<seclabel model="dac" relabel="no"/></source><backingStore/></backingStore>'
        )

    def test_what_is_whole_by_itself_has_no_chain(self) -> None:
        for disk in (DISK, FILE):
            root = definition(flavour=Flavour.KVM, disk=disk)
            assert root.find("devices/disk/backingStore") is None

    @pytest.mark.parametrize("flavour", [Flavour.XEN, Flavour.TEST])
    def test_an_overlay_is_refused_by_name_where_qemu_does_not_serve_it(
        self, flavour: Flavour
    ) -> None:
        with pytest.raises(ValueError, match=r"the disk /srv/clones/spv-250 is qcow2, which is"):
            definition(flavour=flavour, disk=OVERLAY)

    @pytest.mark.parametrize("disk", [DISK, FILE, OVERLAY])
    def test_a_guest_whose_disk_is_full_or_broken_is_paused_and_may_discard(
        self, disk: Disk
    ) -> None:
        driver = attributes(definition(flavour=Flavour.KVM, disk=disk), "devices/disk/driver")
        assert (driver["error_policy"], driver["rerror_policy"]) == ("stop", "stop")
        assert driver["discard"] == "unmap"

    def test_volumes_are_cached_once_and_files_share_the_pages_of_their_image(self) -> None:
        def cache(disk: Disk) -> tuple[str | None, str | None]:
            driver = attributes(definition(flavour=Flavour.KVM, disk=disk), "devices/disk/driver")
            return driver.get("cache"), driver.get("io")

        assert cache(DISK) == ("none", "native")
        assert cache(FILE) == cache(OVERLAY) == (None, None)

    @pytest.mark.parametrize("disk", [DISK, FILE, OVERLAY])
    def test_the_disk_of_a_definition_is_read_back(self, disk: Disk) -> None:
        root = definition(flavour=Flavour.TCG, disk=disk)
        assert defined_disk(root, "xvda") == disk
        assert defined_disk(root, "xvdz") == Disk("")

    def test_another_format_or_image_is_a_difference(self) -> None:
        def xml(disk: Disk) -> str:
            return domain_xml(batch(), 250, disk, Flavour.KVM)

        assert differences(xml(OVERLAY), xml(FILE)) == [
            "disk xvda is /srv/clones/spv-250 instead of /srv/clones/spv-250 (qcow2) over "
            "/srv/images/golden@g"
        ]
        other = replace(OVERLAY, backing="/etc/shadow")
        assert "over /etc/shadow" in differences(xml(OVERLAY), xml(other))[0]

    def test_a_definition_of_before_that_hides_errors_from_people_differs(self) -> None:
        asked = domain_xml(batch(), 250, FILE, Flavour.KVM)
        older = asked.replace(' error_policy="stop" rerror_policy="stop" discard="unmap"', "")
        assert differences(asked, older) == [
            "driver of disk xvda error_policy=stop rerror_policy=stop discard=unmap was dropped"
        ]

    def test_without_disk_network_and_initrd_there_is_none(self) -> None:
        bare = definition(
            lambda spec: spec.ClearField("network"),
            lambda spec: spec.ClearField("disk"),
            lambda spec: spec.boot.ClearField("initrd"),
        )
        assert [bare.find(path) for path in ("devices/disk", "devices/interface", "os/initrd")] == [
            None,
            None,
            None,
        ]

    def test_a_read_only_disk_says_so(self) -> None:
        assert definition(lambda spec: setattr(spec.disk, "read_only", True)).find(
            "devices/disk/readonly"
        ) is not None  # fmt: skip

    def test_an_interface_in_a_vlan_joins_the_bridge_of_that_vlan(self) -> None:
        root = definition(lambda spec: setattr(spec.network, "vlan", 100))
        assert attributes(root, "devices/interface/source") == {"bridge": "xenbr0-v100"}

    def test_an_mtu_is_said_to_qemu_and_not_to_xen_whose_scripts_take_the_bridges(self) -> None:
        def change(spec: types.FleetSpec) -> None:
            spec.network.mtu = 1400

        assert definition(change).find("devices/interface/mtu") is None
        root = definition(change, flavour=Flavour.TCG)
        assert attributes(root, "devices/interface/mtu") == {"size": "1400"}

    @pytest.mark.parametrize(
        ("flavour", "target", "bus", "driver"),
        [(Flavour.XEN, "xvdz", "xen", {"name": "file"}),
         (Flavour.KVM, "vdz", "virtio", QEMU_DRIVER)],
    )  # fmt: skip
    def test_a_seed_is_the_last_disk_read_only(
        self, flavour: Flavour, target: str, bus: str, driver: dict[str, str]
    ) -> None:
        vm = batch(lambda spec: spec.more_disks.add(target="xvdb", path="/srv/b", read_only=True))
        xml = domain_xml(vm, 250, DISK, flavour, seed="/seeds/spv-250.iso")
        *others, last = parsed(xml).iterfind("devices/disk")
        assert len(others) == 2
        assert attributes(last, ".") == {"type": "file", "device": "disk"}
        assert attributes(last, "driver") == driver
        assert attributes(last, "source") == {"file": "/seeds/spv-250.iso"}
        assert attributes(last, "target") == {"dev": target, "bus": bus}
        assert last.find("readonly") is not None
        lost = domain_xml(vm, 250, DISK, flavour)
        assert differences(xml, lost)[0] == (
            f"disk {target} /seeds/spv-250.iso (read-only) was dropped"
        )

    def test_further_disks_and_interfaces_follow_the_first(self) -> None:
        root = definition(
            lambda spec: spec.more_disks.add(target="xvdb", path="/dev/zvol/tank/{name}-{index}"),
            lambda spec: spec.more_disks.add(target="xvdc", path="/srv/{mac}.iso", read_only=True),
            lambda spec: spec.more_networks.add(bridge="br1"),
            lambda spec: spec.more_networks.add(bridge="xenbr0"),
        )
        disks = [
            (disk.get("type"), *(attributes(disk, path) for path in ("source", "target")),
             disk.find("readonly") is not None)
            for disk in root.iterfind("devices/disk")
        ]  # fmt: skip
        assert disks == [
            ("block", {"dev": DISK.path}, {"dev": "xvda", "bus": "xen"}, False),
            (
                "block",
                {"dev": "/dev/zvol/tank/spv-250-250"},
                {"dev": "xvdb", "bus": "xen"},
                False,
            ),
            ("file", {"file": "/srv/{mac}.iso"}, {"dev": "xvdc", "bus": "xen"}, True),
        ]
        assert [
            (attributes(one, "mac")["address"], attributes(one, "source")["bridge"])
            for one in root.iterfind("devices/interface")
        ] == [
            ("02:10:07:00:00:fa", "xenbr0"),
            ("06:10:07:00:00:fa", "br1"),
            ("0a:10:07:00:00:fa", "xenbr0"),
        ]

    @pytest.mark.parametrize(
        ("template", "filled"),
        [
            ("id={index} name={name}", "id=250 name=spv-250"),
            ("mac={mac}", "mac=02:10:07:00:00:fa"),
            ("ip={address}", "ip=10.77.0.252/16"),
            ("{index}{index}", "250250"),
            ("{other} {} {0} {name!r} {name:>9} }{", "{other} {} {0} {name!r} {name:>9} }{"),
            ("{{name}}", "{name}"),
            ("{{{name}}}", "{spv-250}"),
            ("ip={ip}/{prefix_length}", "ip=10.77.0.252/16"),
            ("%s %(name)s $name", "%s %(name)s $name"),
            ("<evil/> & ]]> \"'", "<evil/> & ]]> \"'"),
        ],
    )  # fmt: skip
    def test_placeholders_and_nothing_else_are_filled_in(self, template: str, filled: str) -> None:
        assert command_line(batch(cmdline(template)), 250) == filled
        assert definition(cmdline(template)).findtext("os/cmdline") == filled

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            (cmdline("a\x00b"), "the cmdline 'a.*b' holds the character"),
            (cmdline("a\nb"), "holds the character"),
            (cmdline("a\x1b[0m"), "holds the character"),
            (cmdline("a\ufffe"), "holds the character"),
            (lambda spec: setattr(spec.boot, "kernel", "/k\r"), "the kernel '/k"),
            (
                lambda spec: setattr(spec.boot, "kernel", ""),
                "one of kernel, firmware and",
            ),
            (lambda spec: setattr(spec.network, "bridge", "br\t0"), "the bridge 'br"),
            (lambda spec: spec.more_networks.add(bridge="br\t1"), "the bridge 'br"),
            (lambda spec: spec.more_disks.add(target="xvdb", path="/\n"), "source of the disk"),
            (address_from(""), "spv-250 has no address: the fleet's network has no prefix"),
            (address_from("10.0.0.0/30"), "10.0.0.0/30 has no address for index 250"),
            (lambda spec: setattr(spec.disk, "target", "xvda\x7f"), r"not 'xvda\\x7f'"),
            (lambda spec: setattr(spec, "memory_bytes", (4 << 20) + 1024), "multiple of 1 MiB"),
            (lambda spec: setattr(spec, "memory_bytes", 0), "multiple of 1 MiB"),
            (lambda spec: setattr(spec, "vcpus", 0), "at least one vcpu"),
        ],
    )
    def test_what_cannot_be_a_definition_is_one_sentence(
        self, change: Change, sentence: str
    ) -> None:
        with pytest.raises(ValueError, match=sentence) as refusal:
            definition(change)
        assert "\n" not in str(refusal.value)

    @given(st.text(max_size=40))
    def test_any_command_line_is_refused_or_kept(self, text: str) -> None:
        try:
            root = definition(cmdline(text))
        except ValueError:
            return
        assert (root.findtext("os/cmdline") or "") == command_line(batch(cmdline(text)), 250)
        assert [child.tag for child in root] == [child.tag for child in definition()]


class TestDifferences:
    ASKED = domain_xml(
        batch(
            lambda spec: spec.more_disks.add(target="xvdb", path="/dev/sdb", read_only=True),
            lambda spec: spec.more_networks.add(bridge="br1"),
        ),
        250,
        DISK,
        Flavour.XEN,
    )

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda root: None, []),
            (lambda root: drop(root, "os/kernel"), ["kernel /boot/vmlinuz was dropped"]),
            (lambda root: drop(root, "os/initrd"), ["initrd /boot/initrd was dropped"]),
            (lambda root: drop(root, "os/cmdline"), ["command line root=/dev/xvda was dropped"]),
            (
                lambda root: drop(root, "devices/disk"),
                ["disk xvda /dev/zvol/tank/spv-250 was dropped"],
            ),
            (
                lambda root: write(root, "memory", "65536"),
                ["memory is 65536 KiB instead of 73728 KiB"],
            ),
            (lambda root: write(root, "vcpu", "1"), ["vcpus is 1 instead of 2"]),
            (
                lambda root: root.find("devices/disk/target").set("dev", "xvdz"),
                [
                    "disk xvda /dev/zvol/tank/spv-250 was dropped",
                    "disk xvdz /dev/zvol/tank/spv-250 was added",
                ],
            ),
            (
                lambda root: drop(root, "devices/disk[2]"),
                ["disk xvdb /dev/sdb (read-only) was dropped"],
            ),
            (
                lambda root: drop(root, "devices/disk[2]/readonly"),
                ["disk xvdb is /dev/sdb instead of /dev/sdb (read-only)"],
            ),
            (
                lambda root: drop(root, "devices/interface[2]"),
                [
                    "bridge of interface 1 br1 was dropped",
                    "mac of interface 1 06:10:07:00:00:fa was dropped",
                ],
            ),
            (
                lambda root: root.find("devices/interface/mac").set("address", "02:10:07:00:00:FA"),
                [],
            ),
            (
                lambda root: root.find("devices/interface/mac").set("address", "52:54:00:00:00:01"),
                ["mac of interface 0 is 52:54:00:00:00:01 instead of 02:10:07:00:00:fa"],
            ),
        ],
    )
    def test_in_words(self, change: Callable[[etree._Element], object], words: list[str]) -> None:
        given = parsed(self.ASKED)
        change(given)
        assert differences(self.ASKED, etree.tostring(given, encoding="unicode")) == words


def drop(root: etree._Element, path: str) -> None:
    found = root.find(path)
    assert found is not None
    parent = found.getparent()
    assert parent is not None
    parent.remove(found)


def write(root: etree._Element, path: str, text: str) -> None:
    found = root.find(path)
    assert found is not None
    found.text = text


class TestMarks:
    def test_a_definition_carries_its_mark(self) -> None:
        assert parse_mark(definition()) == Marked(KIN, 250, MARK)

    @pytest.mark.parametrize(
        "metadata",
        [
            "",
            "<metadata/>",
            '<metadata><vm uid="u" index="1" generation="1" birth="1" term="1:1" epoch="1:1"/>'
            "</metadata>",
            '<metadata><f:vm xmlns:f="urn:megafleet:vm:1" index="1"/></metadata>',
            '<metadata><f:vm xmlns:f="urn:megafleet:vm:1" uid="u" index="-1" generation="1" '
            'birth="1" term="1:1" epoch="1:1"/></metadata>',
        ],
    )
    def test_what_is_not_whole_is_no_mark(self, metadata: str) -> None:
        assert parse_mark(parsed(f"<domain>{metadata}</domain>")) is None

    @given(
        st.builds(
            Marked,
            st.builds(Kin, st.uuids().map(str), st.integers(0, 2**32 - 1), st.integers(0, 2**63)),
            st.integers(0, MAX_INDEX),
            st.builds(Mark, *[st.tuples(st.integers(0, 2**63), st.integers(0, 2**63))] * 2),
        )
    )
    def test_fields_say_the_mark(self, marked: Marked) -> None:
        one = Batch(FLEET, marked.kin, types.FleetSpec(), marked.mark, IndexSet.of([marked.index]))
        fields = mark_fields(one, marked.index)
        assert tuple(fields) == FIELDS
        assert read_mark(fields | {"other": "x"}) == marked
        assert marked.is_of(one, marked.index)

    def test_readiness_says_whose_life_it_was(self) -> None:
        seen = ReadySeen("boot-1", 7, 1234, 5678)
        # As virDomainSetMetadata adds it: the namespace is libvirt's part.
        element = ready_xml(seen).replace("<ready ", '<r:ready xmlns:r="urn:megafleet:ready:1" ')
        domain = parsed(f"<domain><metadata>{element}</metadata></domain>")
        assert parse_ready(domain) == seen
        assert parse_ready(parsed("<domain><metadata/></domain>")) is None


def with_agent(spec: types.FleetSpec) -> None:
    spec.guest_agent = True


def test_a_guest_agent_has_its_channel_where_the_template_says_so_and_is_compared() -> None:
    without, asked = (
        definition(*changes, flavour=Flavour.KVM, disk=FILE) for changes in ((), (with_agent,))
    )
    texts = [
        one if isinstance(one, str) else etree.tostring(one).decode() for one in (without, asked)
    ]
    (target,) = parsed(texts[1]).iterfind("devices/channel/target")
    assert (target.get("type"), target.get("name")) == ("virtio", "org.qemu.guest_agent.0")
    assert "channel" not in texts[0]
    assert differences(texts[1], texts[1]) == []
    assert differences(texts[1], texts[0]) == ["channel org.qemu.guest_agent.0 virtio was dropped"]


def test_xen_has_no_channel_for_it() -> None:
    assert definition(with_agent).find("devices/channel") is None
