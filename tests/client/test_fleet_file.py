"""The fleet file: what it may hold, and what every mistake is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fleet.spec import check_spec
from fleet.template.fields import FIELDS, LISTS
from fleet.v1 import types_pb2 as types
from megafleet.fleet_file.documents import MAX_FILE_BYTES, FleetFileError
from megafleet.fleet_file.parser import parse_fleet_file
from tests.client.least_fleet_file import LEAST, told

SAMPLES = Path(__file__).parents[2] / "deploy" / "samples"


def test_the_least_file_has_every_default() -> None:
    parsed = parse_fleet_file(LEAST, "f.yaml")
    assert parsed.name == "spv"
    assert parsed.spec == types.FleetSpec(
        image=types.Image(name="golden", snapshot="1"),
        memory_bytes=256 * 2**20,
        vcpus=1,
        boot=types.Boot(kernel="/boot/vmlinuz"),
        disk=types.Disk(target="xvda"),
        readiness=types.Readiness(domain_active=True, timeout_seconds=60),
        admission=types.Admission(parallel=32),
        placement=types.Placement(policy=types.Placement.POLICY_SPREAD),
        on_loss=types.ON_LOSS_REPLACE,
    )


def test_a_file_that_says_nothing_of_boot_boots_its_disk_by_a_bios() -> None:
    short = LEAST.partition("boot:")[0]
    assert parse_fleet_file(short, "f").spec.boot == types.Boot(firmware=types.FIRMWARE_BIOS)
    for text, boot in (
        ("boot: {firmware: uefi}", types.Boot(firmware=types.FIRMWARE_UEFI)),
        ("boot: {firmware: bios}", types.Boot(firmware=types.FIRMWARE_BIOS)),
        ("boot: {loader: pvgrub}", types.Boot(loader=types.LOADER_PVGRUB)),
        ("boot: {}", types.Boot(firmware=types.FIRMWARE_BIOS)),
        ("boot: {firmware: '', kernel: /k}", types.Boot(kernel="/k")),
    ):
        assert parse_fleet_file(f"{short}{text}\n", "f").spec.boot == boot


@pytest.mark.parametrize(
    ("boot", "says"),
    [
        ("{firmware: efi}", "boot.firmware: must be bios or uefi; got 'efi'"),
        ("{loader: grub}", "boot.loader: must be pvgrub; got 'grub'"),
        ("{kernel: /k, firmware: uefi}", "boot: must have one of kernel, firmware and loader, and"),
        ("{cmdline: quiet}", "boot.cmdline: belongs to boot.kernel; boot.firmware starts what"),
    ],
)
def test_boot_says_one_way(boot: str, says: str) -> None:
    assert says in told(f"{LEAST.partition('boot:')[0]}boot: {boot}\n")


def test_a_cd_drive_and_a_base_for_mac_addresses_are_as_written() -> None:
    spec = parse_fleet_file(
        LEAST + "disks: [{target: hdc, path: '/srv/{name}.iso', cdrom: true}]\n"
        "network: {bridge: br0, mac_base: '00:16:3E:00:00:00'}\n"
        "networks: [{bridge: br1, mac_base: '00:16:3e:01:00:00'}]\n",
        "f",
    ).spec
    assert list(spec.more_disks) == [
        types.ExtraDisk(target="hdc", path="/srv/{name}.iso", read_only=True, cdrom=True)
    ]
    assert spec.network.mac_base == "00:16:3E:00:00:00"
    assert spec.more_networks[0].mac_base == "00:16:3e:01:00:00"


def test_how_long_a_host_may_be_isolated_is_whole_seconds() -> None:
    spec = parse_fleet_file(LEAST + "on_isolation:\n  stop_after: 10m\n", "f").spec
    assert spec.on_isolation_stop_after_seconds == 600
    assert "on_isolation.stop_after: must be 60s to 604800s, or 0: never; got '90.5s'" in told(
        LEAST + "on_isolation:\n  stop_after: 90.5s\n"
    )


@pytest.mark.parametrize("sample", sorted(SAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_samples_are_good(sample: Path) -> None:
    parsed = parse_fleet_file(sample.read_text(), sample.name)
    assert check_spec(parsed.spec) == []


def test_a_full_file_holds_what_it_says() -> None:
    spec = parse_fleet_file((SAMPLES / "linux-busybox.yaml").read_text(), "f").spec
    assert spec.disk == types.Disk(target="xvda", size_bytes=64 * 2**20)
    assert spec.network == types.Network(bridge="xenbr0", prefix="10.64.0.0/10")
    assert list(spec.more_disks) == [
        types.ExtraDisk(target="xvdb", path="/var/lib/megafleet/data.iso", read_only=True)
    ]
    assert list(spec.more_networks) == [types.Network(bridge="xenbr1")]
    assert spec.readiness == types.Readiness(
        console_pattern=r"megafleet: ready name=\S+ index=\d+", timeout_seconds=90
    )
    assert spec.admission == types.Admission(parallel=16, per_second=20)
    assert spec.placement == types.Placement(
        policy=types.Placement.POLICY_SPREAD,
        spread_label="rack",
        per_host=100,
        selector={"network": "guests"},
    )


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("memroy: 4MiB", "f.yaml:8: memroy: no such field; did you mean memory?"),
        ("kernel: /x", "f.yaml:8: kernel: no such field; did you mean boot.kernel?"),
        ("zzz: 1", "f.yaml:8: zzz: no such field; here may stand name, image, memory, vcpus,"),
        ("disk: {sise: 1GiB}", "disk.sise: no such field; did you mean size?"),
        ("memory: 1GiB", "f.yaml:8: memory: stands here for the second time"),
        ("image: {}", "f.yaml:8: image: stands here for the second time"),
        ("vcpus: 0", "vcpus: must be 1 to 128; got 0"),
        ("vcpus: -1", "vcpus: must be 1 to 128; got -1"),
        ("vcpus: 1.5", "vcpus: must be a whole number: 1 to 128; got '1.5'"),
        ("vcpus: [1]", "vcpus: must be one value: 1 to 128"),
        ("vcpus:", "vcpus: is empty; it must be 1 to 128"),
        ("vcpus: 0x10", "vcpus: must be a whole number: 1 to 128; got '0x10'"),
        ("disk: {size: 256MB}", "a number with its unit, KiB, MiB, GiB or TiB, such as 256MiB"),
        ("disk: {size: 1}", "disk.size: must be a number with its unit"),
        ("disk: {size: 0.5MiB}", "disk.size: must be 1MiB to 64TiB, in whole MiB, or 0: the im"),
        ("disk: {size: 0.0000001KiB}", "disk.size: must be 1MiB to 64TiB"),
        ("disk: {read_only: yes}", "disk.read_only: must be true or false; got 'yes'"),
        ("disk:", "f.yaml:8: disk: must hold target, size, read_only, indented"),
        ("disk: xvda", "f.yaml:8: disk: must hold target, size, read_only, indented"),
        (
            "disks: {target: xvdb}",
            "f.yaml:8: disks: must be a list; an entry begins with '- ' and ",
        ),
        ("disks:", "f.yaml:8: disks: must be a list"),
        ("disks:\n- xvdb", "f.yaml:9: disks[0]: must hold target, path, read_only"),
        ("disks:\n- {target: xvdb}", "f.yaml:9: disks[0].path: is missing; it must be an abs"),
        ("disks:\n- {targte: xvdb}", "f.yaml:9: disks[0].targte: no such field; did you mean tar"),
        ("disks:\n- {path: /a, path: /b}", "disks[0].path: stands here for the second time"),
        (
            f"disks: [{'{target: xvdb, path: /a}, ' * 9}]",
            "f.yaml:8: disks: must be at most 8; got 9",
        ),
        ("disks: [{target: xvda, path: /a}]", "disks[0].target: 'xvda' is another disk's already"),
        ("networks: [{bridge: br1}]", "networks: are the second interface and those after it;"),
        (
            "network: {bridge: b}\nnetworks: [{bridge: b, prefix: x}]",
            "f.yaml:9: networks[0].prefix",
        ),
        ("network: {}", "f.yaml:8: network.bridge: is missing; it must be an interface's name"),
        ("readiness: {timeout: 30}", "readiness.timeout: must be a number with its unit, ms,"),
        ("readiness: {timeout: 2d}", "readiness.timeout: must be a number with its unit, ms,"),
        ("readiness: {console: '('}", "readiness.console: not a regular expression"),
        ("readiness: {active: true, console: x}", "readiness: has both active and console"),
        ("readiness: {active: false}", "readiness: must be active: true, or a console pattern"),
        ("placement: {policy: random}", "placement.policy: must be spread or pack; got 'random'"),
        ("placement: {selector: [a]}", "placement.selector: must be 'label: value' lines"),
        ("placement: {selector: {a: 1, a: 2}}", "placement.selector: holds 'a' twice"),
        ("placement: {selector: {a/: c}}", "placement.selector: label 'a/': a key is"),
        ("on_loss: ignore", "f.yaml:8: on_loss: must be replace or wait; got 'ignore'"),
        ("vcpus: &a 1", "f.yaml:8: anchors (&a) are not allowed"),
        ("vcpus: *a", "f.yaml:8: aliases (*a) are not allowed"),
        ("vcpus: !!python/object:os.system 1", "f.yaml:8: tags ('tag:yaml.org,2002:python/obj"),
        ("<<: {a: b}", "f.yaml:8: '<<': no such field"),
        ("? [a, b]\n: c", "f.yaml:8: 'a list or mapping': no such field"),
        ("---\nname: b", "f.yaml:8: another document begins; here may stand one fleet"),
        ("vcpus: [", "f.yaml:9: not YAML:"),
        ("\tvcpus: 1", "f.yaml:8: not YAML:"),
        ("vcpus: \x07", "f.yaml:8: character '\\x07' is not allowed"),
        ("x: " + "[" * 900, "f.yaml:8: nested more than 8 deep"),
        ("x: [" + "1," * 30000 + "]", "f.yaml:8: more than 20000 values"),
        ("\u202e: 1", r"f.yaml:8: '\u202e': no such field"),
    ],
)
def test_a_mistake_says_line_field_and_what_is_allowed(written: str, says: str) -> None:
    assert says in told(f"{LEAST}{written}\n")


def test_lists_hold_what_they_say_with_defaults() -> None:
    spec = parse_fleet_file(
        f"""{LEAST}
disks:
- target: xvdb
  path: /dev/zvol/tank/{{name}}-data
  read_only: false
- {{target: xvdc, path: /srv/shared.iso}}
network: {{bridge: br0}}
networks:
- {{bridge: br1, prefix: 10.1.0.0/16}}
- {{bridge: br2}}
""",
        "f.yaml",
    ).spec
    assert list(spec.more_disks) == [
        types.ExtraDisk(target="xvdb", path="/dev/zvol/tank/{name}-data"),
        types.ExtraDisk(target="xvdc", path="/srv/shared.iso", read_only=True),
    ]
    assert list(spec.more_networks) == [
        types.Network(bridge="br1", prefix="10.1.0.0/16"),
        types.Network(bridge="br2"),
    ]


def test_an_address_without_a_prefix_is_a_mistake_said_plainly() -> None:
    said = told(LEAST + '  cmdline: "ip={address}"\nnetwork: {bridge: br0}\n')
    assert said.endswith(
        "boot.cmdline: {address} needs network.prefix, the network that addresses come from"
    )


@pytest.mark.parametrize(
    "name",
    ["a/b", "..", "a@b", "A", "a\\nb", "a\\e[31m", "x" * 41, "-a", "a--b", "", "a b"],
)
def test_hostile_names_are_refused_and_shown_harmless(name: str) -> None:
    said = told(LEAST.replace("name: spv", f'name: "{name}"'))
    assert said.startswith("f.yaml:1: name: must be 1 to 40 lower-case letters")
    assert said.isprintable()


@pytest.mark.parametrize(
    "cmdline", ["{color}", "{name!r}", "{index:99}", "{{name}", "{", "{name.x}"]
)
def test_no_further_placeholders_exist(cmdline: str) -> None:
    said = told(LEAST + f'  cmdline: "{cmdline}"\n')
    assert said.startswith("f.yaml:8: boot.cmdline: ")


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ("schedule:\n  points:\n    - at: 0 0 * * 9\n      total: 1\n", 10),
        ("schedule:\n  time_zone: Nowhere\n  points:\n    - at: 0 0 * * 1\n      total: 1\n", 9),
    ],
)
def test_what_is_wrong_with_values_together_is_told_in_the_line_of_the_first(
    section: str, line: int
) -> None:
    assert told(LEAST + section).startswith(f"f.yaml:{line}: schedule")


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file() -> None:
    lines = told("vcpus: 0\nmemory: 3\nzzz: 1\n").split("\n")
    numbers = [int(line.split(":")[1]) for line in lines]
    assert numbers == sorted(numbers)
    assert {line.split(": ")[1] for line in lines} == {
        "vcpus", "memory", "zzz", "name", "image.name", "image.snapshot"
    }  # fmt: skip


@pytest.mark.parametrize("text", ["", "# nothing", "- a\n- b\n", "just text", "null"])
def test_what_is_no_mapping_says_what_a_fleet_file_is(text: str) -> None:
    assert "a fleet file is 'field: value' lines" in told(text)


def test_a_file_that_is_too_large_is_refused_before_it_is_read() -> None:
    assert told("#" * (MAX_FILE_BYTES + 1)) == "f.yaml:1: the file is larger than 256 KiB"
    assert told("é" * (MAX_FILE_BYTES // 2 + 1)) == "f.yaml:1: the file is larger than 256 KiB"


@settings(deadline=None)
@given(st.text(max_size=300))
@example("%YAML 9.9\n---\na: b")
@example("%TAG ! tag:x,2000:\n---\n!a b")
@example("a: 'x\n")
@example("\ufeffname: x")
@example("{" * 300)
def test_no_text_ends_otherwise_than_with_a_fleet_or_with_mistakes(text: str) -> None:
    try:
        parse_fleet_file(text, "f.yaml")
    except FleetFileError as error:
        assert error.mistakes


_SCALARS = st.one_of(
    st.sampled_from(["1", "-1", "0", "1GiB", "30s", "true", "null", "~", "[]", "{}", "a", "''"]),
    st.text(alphabet="abz019 .-/@{}", max_size=12).map(lambda text: f"'{text}'"),
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from([one.path for one in FIELDS]), _SCALARS))
def test_what_the_parser_accepts_the_controller_accepts(fields: dict[str, str]) -> None:
    sections: dict[str, list[str]] = {}
    for path, value in fields.items():
        section, _, key = path.rpartition(".")
        sections.setdefault(section, []).append(f"{key}: {value}")
    lines = sections.pop("", [])
    for section, held in sections.items():
        dash = "- " if section in LISTS else "  "
        lines.append(f"{section.removesuffix('[]')}:")
        lines += [f"{'  ' if number else dash}{line}" for number, line in enumerate(held)]
    try:
        parsed = parse_fleet_file("\n".join(lines), "f.yaml")
    except FleetFileError:
        return
    assert check_spec(parsed.spec) == []


def test_a_bridge_of_the_agents_own_with_a_vlan_and_an_mtu() -> None:
    text = LEAST + "network: {bridge: lan, create: true, vlan: 100, mtu: 1400}\n"
    spec = parse_fleet_file(text, "f").spec
    assert spec.network == types.Network(bridge="lan", create=True, vlan=100, mtu=1400)


def test_a_bridge_with_a_vlan_has_a_name_short_enough_for_what_vms_join() -> None:
    assert "with VLAN 4094 has at most 9 characters" in told(
        LEAST + "network: {bridge: br-internal, vlan: 4094}\n"
    )


@pytest.mark.parametrize("network", ["network: {name: lan}", "networks: [{name: lan}]"])
def test_networks_across_hosts_come_later(network: str) -> None:
    assert "name: comes later: networks across hosts" in told(f"{LEAST}{network}\n")
