"""The identity of a fleet file, and the file of user data that it may name."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from fleet.v1 import types_pb2 as types
from megafleet.fleet_file.documents import FleetFileError
from megafleet.fleet_file.parser import parse_fleet_file
from tests.client.least_fleet_file import LEAST, told

IDENTITY = """\
network: {bridge: br0, prefix: 10.1.0.0/16, gateway: 10.1.0.1, dns: [10.1.0.1, 9.9.9.9]}
identity:
  hostname: "{name}-{role}.lab"
  ssh_keys: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0saaaaaaaaaaaaaa me"]
  users:
    - {name: al, sudo: true, groups: [adm, sudo], shell: /bin/sh}
    - {name: bo}
  packages: [nginx]
  values: {role: [web, db], port: 8000-8099}
"""


def test_an_identity_is_read_whole() -> None:
    spec = parse_fleet_file(LEAST + IDENTITY, "f.yaml").spec
    assert (spec.network.gateway, list(spec.network.dns)) == ("10.1.0.1", ["10.1.0.1", "9.9.9.9"])
    identity = spec.identity
    assert identity.hostname == "{name}-{role}.lab" and list(identity.packages) == ["nginx"]
    assert list(identity.users) == [
        types.User(name="al", sudo=True, groups=["adm", "sudo"], shell="/bin/sh"),
        types.User(name="bo"),
    ]
    assert dict(identity.values) == {
        "role": types.VmValues(texts=["web", "db"]),
        "port": types.VmValues(start=8000, stop=8100),
    }


def test_a_gateway_may_be_link_local() -> None:
    network = "network: {bridge: b, prefix: 'fd00::/64', gateway: 'fe80::1'}\n"
    assert parse_fleet_file(LEAST + network, "f").spec.network.gateway == "fe80::1"


def test_without_an_identity_there_is_none() -> None:
    assert not parse_fleet_file(LEAST, "f.yaml").spec.HasField("identity")
    assert parse_fleet_file(LEAST + "identity: {}\n", "f").spec.identity.hostname == "{name}"


class TestUserDataFile:
    NAMED = LEAST + "identity: {user_data_file: a/user.yaml}\n"

    def test_it_lies_next_to_the_fleet_file(self, tmp_path: Path) -> None:
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "user.yaml").write_text("#!/bin/sh\n: {name}\n")
        spec = parse_fleet_file(self.NAMED, "f.yaml", tmp_path).spec
        assert spec.identity.user_data == "#!/bin/sh\n: {name}\n"

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            (None, "a/user.yaml: No such file or directory"),
            (b"\xff", "a/user.yaml is not UTF-8 text"),
            (b"x" * 65537, "a/user.yaml is larger than 64 KiB"),
            (b"#!/bin/sh\n{oops}", "identity.user_data: '{oops}' is no placeholder"),
        ],
    )
    def test_what_is_wrong_with_it_is_said(
        self, tmp_path: Path, content: bytes | None, says: str
    ) -> None:
        (tmp_path / "a").mkdir()
        if content is not None:
            (tmp_path / "a" / "user.yaml").write_bytes(content)
        with pytest.raises(FleetFileError, match=re.escape(says)):
            parse_fleet_file(self.NAMED, "f.yaml", tmp_path)

    def test_a_pipe_is_not_waited_for(self, tmp_path: Path) -> None:
        (tmp_path / "a").mkdir()
        os.mkfifo(tmp_path / "a" / "user.yaml")
        with pytest.raises(FleetFileError, match="is no file"):
            parse_fleet_file(self.NAMED, "f.yaml", tmp_path)

    def test_from_stdin_there_is_no_folder(self) -> None:
        assert told(self.NAMED).startswith("f.yaml:8: identity.user_data_file: begins at the fleet")

    def test_only_below_the_fleet_files_folder(self) -> None:
        for path in ("/etc/passwd", "../x", "a/../../x"):
            assert "f.yaml:8: identity.user_data_file: " in told(
                LEAST + f"identity: {{user_data_file: {path}}}\n"
            )


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("identity: {user_data: x, user_data_file: y}", "has both user_data and user_data_file"),
        ("identity: {ssh_keys: ssh-ed25519}", "identity.ssh_keys: must be a list"),
        ("identity: {ssh_keys: [x]}", "identity.ssh_keys: must be a public key such as"),
        ('identity: {ssh_keys: ["ssh-ed25519 AAAAAAAAAAAAAAAAAAAA\\nroot"]}', "ssh_keys: must be"),
        ("identity: {packages: ['; reboot']}", "identity.packages: must be at most 256 names"),
        ("identity: {users: [{name: Root}]}", "identity.users[0].name: must be 1 to 32 lower-case"),
        ("identity: {users: [{}]}", "identity.users[0].name: is missing"),
        ("identity: {values: {a: x}}", "'a' must be a list of texts, or a range such as 8000-8999"),
        ("identity: {values: [a]}", "identity.values: must be 'name: [text, text]' lines"),
        ("identity: {user_data: '{nope}'}", "identity.user_data: '{nope}' is no placeholder"),
        ("identity: {user_data: '{dns}'}", "identity.user_data: {dns} needs network.dns"),
        ("network: {bridge: b, gateway: gw}", "network.gateway: must be an address"),
        ("network: {bridge: b, dns: [1.1.1.1, 1.1.1.2, 1.1.1.3, 1.1.1.4]}", "at most 3 addresses"),
        ("network: {bridge: b, gateway: 1.1.1.999}", "network.gateway: '1.1.1.999' does not"),
        ("network: {bridge: b, prefix: 10.0.0.0/8, gateway: 11.0.0.1}", "is not in 10.0.0.0/8"),
        ("identity: {}\ndisk: {target: vdz}", "disk.target: vdz is where each VM finds"),
        ("identity: {}\ndisks: [{target: xvdz, path: /a}]", "'xvdz' is another disk's already"),
    ],
)
def test_what_is_wrong_with_an_identity_is_said(written: str, says: str) -> None:
    assert says in told(f"{LEAST}{written}\n")
