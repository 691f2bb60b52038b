"""fleetctl import: real definitions become fleet files that can be applied, with what they lost."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fleet.v1 import types_pb2 as types
from fleetctl.definitions.fleet_text import FleetText, fleet_text
from fleetctl.definitions.guest import BadDefinition
from fleetctl.definitions.libvirt_guest import libvirt_guest
from fleetctl.definitions.xl_guest import xl_guest
from fleetctl.definitions.xl_syntax import parse_xl
from megafleet.fleet_file.parser import ParsedFleet, parse_fleet_file
from tests.fleetctl.sample_definitions import DOMAIN, HVM, XEN_TOOLS


def of_xl(text: str, image: str = "") -> tuple[ParsedFleet, FleetText]:
    made = fleet_text(xl_guest(text), image)
    return parse_fleet_file(made.text, "f"), made


def of_xml(text: str, image: str = "") -> tuple[ParsedFleet, FleetText]:
    made = fleet_text(libvirt_guest(text.encode()), image)
    return parse_fleet_file(made.text, "f"), made


def test_a_guest_of_xen_tools_is_a_fleet_with_its_partitions_its_swap_and_its_mac_address() -> None:
    parsed, made = of_xl(XEN_TOOLS)
    spec = parsed.spec
    assert (parsed.name, spec.memory_bytes >> 20, spec.vcpus) == ("web-example-org", 256, 1)
    assert spec.image == types.Image(name="web-example-org", snapshot="1")
    assert spec.boot == types.Boot(
        kernel="/boot/vmlinuz-6.1.0-18-amd64",
        initrd="/boot/initrd.img-6.1.0-18-amd64",
        cmdline="root=/dev/xvda2 ro elevator=noop",
    )
    assert spec.disk.target == "xvda2"
    assert list(spec.more_disks) == [types.ExtraDisk(target="xvda1", path="/dev/vg0/{name}-swap")]
    assert spec.network == types.Network(bridge="xenbr0", mac_base="00:16:3e:aa:bb:cc")
    assert made.steps[-2:] == (
        "bring its disk in: fleetctl images import web-example-org@1 "
        "/srv/xen/domains/web.example.org/disk.img",
        "have /dev/vg0/{name}-swap on every host, for each VM that it runs",
    )
    assert made.left_out == (
        "dhcp: 'dhcp' has no counterpart in a fleet file",
        "on_crash: 'restart' has no counterpart in a fleet file",
        "name: 'web.example.org' is now web-example-org, as fleets may be called",
    )


def test_a_fully_virtualised_guest_boots_by_firmware_and_what_is_not_raw_or_shared_is_told() -> (
    None
):
    parsed, made = of_xl(HVM, "windows@11")
    spec = parsed.spec
    assert spec.boot == types.Boot(firmware=types.FIRMWARE_UEFI)
    assert (spec.vcpus, spec.disk.target, spec.image.snapshot) == (2, "hda", "11")
    assert [one.bridge for one in (spec.network, *spec.more_networks)] == ["br0", "br1"]
    told = "\n".join(made.left_out)
    for sentence in (
        "vif 0: 'type=ioemu' is not carried over",
        "boot: 'dc' has no counterpart",
        "vnc: '1' has no counterpart",
        "disk xvdb: '/srv/data.qcow2' is not raw, and is left out",
        "disk xvdc: '/dev/vg0/log' is written to, and would be one for all VMs; left out",
        "disk hdc: left out, since its path must be an absolute path",
    ):
        assert sentence in told
    assert not spec.more_disks


@pytest.mark.parametrize(
    ("disk", "target", "path"),
    [
        ("phy:/dev/vg/a,xvda,w", "xvda", "/dev/vg/a"),
        ("file:///root/a.img,xvda2,w", "xvda2", "/root/a.img"),
        ("tap:aio:/srv/a.img,sda1,w", "sda1", "/srv/a.img"),
        ("/dev/vg/a,raw,xvda,rw", "xvda", "/dev/vg/a"),
        ("/dev/vg/a,,hda", "hda", "/dev/vg/a"),
        ("./a.qcow2,qcow2,xvda,w", "xvda", "./a.qcow2"),
        ("vdev=xvda1,format=raw,target=/srv/with,comma", "xvda1", "/srv/with,comma"),
        ("phy:/dev/vg/a b,ioemu:hda,w", "hda", "'/dev/vg/a b'"),
    ],
)
def test_the_ways_in_which_people_write_a_disk_are_read(disk: str, target: str, path: str) -> None:
    parsed, made = of_xl(f"name='b'\nmemory=64\nbootloader='pygrub'\ndisk=['{disk}']\n")
    assert parsed.spec.disk.target == target
    assert made.steps == (f"bring its disk in: fleetctl images import b@1 {path}",)


def test_what_belonged_to_a_kernel_is_told_where_a_loader_or_firmware_takes_over() -> None:
    lines = "memory=64\ndisk=['phy:/dev/vg/a,xvda,w']\nroot='/dev/xvda2 ro'\nextra='quiet'\n"
    for way, whom in (("bootloader='pygrub'", "the disk's grub.cfg"), ("type='hvm'", "the firmw")):
        _, made = of_xl(f"name='i-host'\n{way}\n{lines}")
        told = "\n".join(made.left_out)
        assert f"root: '/dev/xvda2 ro' is left to {whom}" in told
        assert f"extra: 'quiet' is left to {whom}" in told


@pytest.mark.parametrize(
    ("lines", "boot"),
    [
        ("bootloader='pygrub'", types.Boot(loader=types.LOADER_PVGRUB)),
        ("kernel='/usr/lib/grub-xen/grub-x86_64-xen.bin'", types.Boot(loader=types.LOADER_PVGRUB)),
        ("type='hvm'", types.Boot(firmware=types.FIRMWARE_BIOS)),
        ("type='pvh'\nkernel='/k'\ncmdline='quiet'", types.Boot(kernel="/k", cmdline="quiet")),
        ("kernel='/k'\nextra='a={b}'", types.Boot(kernel="/k")),
        ("", types.Boot(firmware=types.FIRMWARE_BIOS)),
    ],
)
def test_each_way_to_start_of_xl_is_one_of_ours(lines: str, boot: types.Boot) -> None:
    parsed, _ = of_xl(f"name='a'\nmemory=64\ndisk=['phy:/dev/vg/a,xvda,w']\n{lines}\n")
    assert parsed.spec.boot == boot


def test_a_domain_of_libvirt_is_a_fleet_with_its_firmware_and_its_seed_of_each_vm() -> None:
    parsed, made = of_xml(DOMAIN, "debian@13")
    spec = parsed.spec
    assert spec.boot == types.Boot(firmware=types.FIRMWARE_UEFI)
    assert (spec.memory_bytes >> 20, spec.vcpus, spec.disk.target) == (1025, 2, "vda")
    assert list(spec.more_disks) == [
        types.ExtraDisk(target="hdc", path="/srv/seed/{name}.iso", read_only=True, cdrom=True)
    ]
    assert spec.network == types.Network(bridge="br0", mac_base="52:54:00:6b:29:ab")
    told = "\n".join(made.left_out)
    for sentence in (
        "<memory>: is rounded up to whole MiB",
        "disk 'vdb': has neither a file nor a device",
        "interface 0: is of the kind 'network' and joins no bridge by name",
        "interface 1: <vlan> is not carried over",
        "<cpu>: has no counterpart",
        "<graphics>: is a device that VMs of a fleet have not",
        "disk sda: is the CD drive hdc",
    ):
        assert sentence in told
    assert "commandline" in told


@pytest.mark.parametrize(
    ("system", "boot"),
    [
        ("<bootloader>/usr/bin/pygrub</bootloader>", types.Boot(loader=types.LOADER_PVGRUB)),
        ("<os><type>xen</type></os>", types.Boot(firmware=types.FIRMWARE_BIOS)),
        ("", types.Boot(firmware=types.FIRMWARE_BIOS)),
        (
            "<os><loader>/usr/share/OVMF/OVMF_CODE.fd</loader></os>",
            types.Boot(firmware=types.FIRMWARE_UEFI),
        ),
        (
            "<os><kernel>/k</kernel><initrd>/i</initrd><cmdline>quiet</cmdline></os>",
            types.Boot(kernel="/k", initrd="/i", cmdline="quiet"),
        ),
        (
            "<os><kernel>/usr/lib/grub-xen/grub-x86_64-xen.bin</kernel></os>",
            types.Boot(loader=types.LOADER_PVGRUB),
        ),
    ],
)
def test_each_way_to_start_of_libvirt_is_one_of_ours(system: str, boot: types.Boot) -> None:
    disk = "<disk type='block'><source dev='/dev/vg/a'/><target dev='xvda'/></disk>"
    parsed, _ = of_xml(
        f"<domain><name>a</name><memory>65536</memory>{system}<devices>{disk}</devices></domain>"
    )
    assert parsed.spec.boot == boot


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name = 'a' + str(1)\n", "line 1: this is not the syntax of xl.cfg"),
        ("import os\n", "line 1: after import stands =; got 'os'"),
        ("a = 1\nb = [ 'x' 'y' ]\n", "line 2: between the entries of a list stands a comma"),
        ("a = [ 'x',\n\n", "line 3: a number, a quoted text or a list of them was expected"),
        ("a = 'x\n", "line 1: this is not the syntax of xl.cfg"),
        ("a = b\n", "line 1: a number, a quoted text or a list of them was expected; got 'b'"),
        ("a = 1 b = 2\n", "line 1: one setting a line, with a plain value"),
        ("a = 0xzz\n", "line 1"),
        ("a = [1]\na += 'x'\n", "+= adds a list to a list"),
        ("name = ['a']\n", "name must be one value; got a list"),
        ("name = 'a'\n", "the definition says no memory"),
        ("name = 'a'\nmemory = 'lots'\n", "memory must be a whole number; got 'lots'"),
        ("name = 'a'\nmemory = 99999999999\n", "memory: must be 1MiB to 1TiB"),
        ("", "the definition says no memory"),
    ],
)
def test_what_is_no_xl_cfg_is_one_sentence_and_nothing_is_evaluated(text: str, says: str) -> None:
    with pytest.raises(BadDefinition) as refusal:
        of_xl(text)
    assert str(refusal.value).startswith(says)
    assert "\n" not in str(refusal.value)


LAUGHS = "<!DOCTYPE domain [<!ENTITY a 'ha'>" + "".join(
    f"<!ENTITY {chr(98 + n)} '{f'&{chr(97 + n)};' * 10}'>" for n in range(9)
) + "]><domain><name>&j;</name><memory>65536</memory></domain>"  # fmt: skip


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("<domain>", "not XML: "),
        ("<network/>", "<domain> was expected; got '<network>'"),
        (LAUGHS, "the XML has a DOCTYPE"),
        (
            "<!DOCTYPE d [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><domain><name>&x;</name></domain>",
            "the XML has a DOCTYPE",
        ),
        ("<!DOCTYPE d SYSTEM 'http://192.0.2.1/x.dtd'><domain/>", "the XML has a DOCTYPE"),
        ("<a>" * 5000, "not XML: "),
        ("<domain><memory unit='furlongs'>1</memory></domain>", "memory is in 'furlongs'"),
        ("<domain><memory>-1</memory></domain>", "memory must be a whole number; got '-1'"),
        ("<domain><name>a</name></domain>", "the definition says no memory"),
        (f"<domain><name>{'a' * 5000}</name></domain>", "<name> is longer than 4096"),
    ],
)
def test_hostile_and_broken_xml_is_refused_in_one_sentence(text: str, says: str) -> None:
    with pytest.raises(BadDefinition) as refusal:
        of_xml(text)
    assert str(refusal.value).startswith(says)
    assert "\n" not in str(refusal.value)


def test_what_a_definition_says_cannot_leave_its_comment() -> None:
    _, made = of_xl(
        "name='a'\nkernel='/k'\nmemory=64\nvnc='x\\nname: evil'\nextra_key=\"\\x1b[0m\"\n"
    )
    lines = made.text.splitlines()
    assert not any(line.startswith("name: evil") for line in lines)
    assert made.text.replace("\n", "").isprintable()


def test_more_disks_and_interfaces_than_fit_are_left_out_each_by_its_name() -> None:
    disks = ", ".join(f"'phy:/dev/a-{one},xvd{one},r'" for one in "bcdefghijk")
    vifs = ", ".join("'bridge=br0'" for _ in range(10))
    parsed, made = of_xl(f"name='a'\nkernel='/k'\nmemory=64\ndisk=[{disks}]\nvif=[{vifs}]\n")
    assert (len(parsed.spec.more_disks), len(parsed.spec.more_networks)) == (8, 7)
    assert "disk xvdk: left out, as no more fit" in made.left_out
    assert "networks: 2 are left out; at most 7 fit" in made.left_out


def test_of_very_much_that_is_lost_the_first_hundred_are_told() -> None:
    many = "".join(f"<a{number}/>" for number in range(20_000))
    _, made = of_xml(
        f"<domain><name>a</name><memory>65536</memory><os><kernel>/k</kernel></os>{many}</domain>"
    )
    assert made.left_out[0] == "<a0>: has no counterpart in a fleet file"
    assert made.left_out[100:] == ("and 19,901 more of the kind",)


def test_a_guest_that_nothing_starts_makes_no_fleet() -> None:
    with pytest.raises(BadDefinition, match="neither a kernel nor a disk to start from"):
        of_xl("name = 'a'\nmemory = 64\n")


@given(st.text(max_size=300))
@example(XEN_TOOLS)
@example("a = [[['x']]]")
def test_no_text_ends_otherwise_than_with_settings_or_a_sentence(text: str) -> None:
    try:
        parse_xl(text)
    except BadDefinition as error:
        assert str(error)


_VALUES = st.one_of(st.integers(0, 2**40).map(str), st.text(max_size=20).map(repr)) | st.lists(
    st.text(alphabet="abx:,=/ {}w1.'\"", max_size=30).map(repr), max_size=4
).map(lambda entries: f"[{', '.join(entries)}]")


@pytest.mark.parametrize(
    "disk", ["/i/w.iso,,hdc,cdrom", "/i/w.iso,,hdc,,cdrom", "/i/w.iso,raw,hdc,devtype=cdrom"]
)
def test_a_cdrom_is_one_in_each_way_that_xl_has_to_say_so(disk: str) -> None:
    parsed, made = of_xl(
        f"name = 'a'; memory = 64; disk = ['/srv/profile:1.img,raw,xvda,w', '{disk}']"
    )
    (cdrom,) = parsed.spec.more_disks
    assert (cdrom.path, cdrom.cdrom, cdrom.read_only) == ("/i/w.iso", True, True)
    assert "/srv/profile:1.img" in made.text, "a path with a colon is a path"


def test_memory_and_vcpus_that_come_later_are_told() -> None:
    grown = DOMAIN.replace("<vcpu placement='static'>2", "<vcpu current='1'>2").replace(
        "</memory>", "</memory><currentMemory unit='KiB'>65536</currentMemory>"
    )
    notes = " ".join(of_xml(grown)[1].left_out)
    assert "currentMemory" in notes and "vcpu current" in notes


@given(
    st.dictionaries(
        st.sampled_from(["name", "kernel", "extra", "disk", "vif", "type", "vcpus", "bios", "x"]),
        _VALUES,
    )
)
def test_whatever_is_printed_is_a_fleet_file(settings: dict[str, str]) -> None:
    text = "".join(f"{key} = {value}\n" for key, value in {"memory": "64", **settings}.items())
    try:
        of_xl(text)
    except BadDefinition as error:
        assert "\n" not in str(error)


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda one: f"<domain>{one}".encode()))
def test_no_bytes_end_otherwise_than_with_a_guest_or_a_sentence(content: bytes) -> None:
    try:
        libvirt_guest(content)
    except BadDefinition as error:
        assert str(error)
