"""Definitions: what is asked for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from fleet.v1 import types_pb2 as types
from fleet_agent.core.domain.differences import differences
from fleet_agent.core.domain.disk_elements import defined_disk
from fleet_agent.core.domain.disks import Disk
from fleet_agent.core.domain.domain_mark import (
    parsed,
)
from fleet_agent.core.domain.domain_xml import command_line, domain_xml
from fleet_agent.core.domain.flavour import Flavour
from tests.agent.domain_xml.asked_domains import (
    DISK,
    FILE,
    FLEET,
    OVERLAY,
    QEMU_DRIVER,
    Change,
    address_from,
    attributes,
    batch,
    cmdline,
    definition,
)


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
