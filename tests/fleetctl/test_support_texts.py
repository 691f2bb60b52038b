"""A support bundle's texts: no secret stays, and names are replaced alike wherever they stand."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.certificates.join_token import JoinToken
from fleet.transport import Role
from fleetctl.support.anonymity import Anonymity
from fleetctl.support.redaction import clean, without_command, without_secrets
from tests.certificates import identity

TOKEN = JoinToken("abcd2345", b"s" * 20, b"a" * 32).text
KEY = identity(Role.OPERATOR, "alice").key.decode()
MAC_KEY = base64.b64encode(bytes(range(7, 39))).decode()
SSH = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl a@b"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"cannot join with {TOKEN}: it has ended", TOKEN),
        (f"the file holds {KEY} and more", KEY.split("\n")[1]),
        (KEY[: len(KEY) // 2], KEY.split("\n")[1]),
        (f"seal {MAC_KEY} is another", MAC_KEY),
        (f"user data: {SSH}", SSH.split()[1]),
        ("root=/dev/xvda db_password=hunter2 ro", "hunter2"),
        ('api_key: "two words"', "two words"),
        ('{"level": "info", "password": "hunter2"}', "hunter2"),
        (r"said {\"db_password\": \"hunter2\"}", "hunter2"),
        ("mysql --password hunter2 ended with 1", "hunter2"),
        ("MYSQL_PWD=hunter2 mysql", "hunter2"),
        ("x-api-key: hunter2", "hunter2"),
        ("a command was run in 3 VMs on 1 host as root: echo root:hunter2 | chpasswd", "hunter2"),
        ("Authorization: Bearer abcdefgh12345", "abcdefgh12345"),
        ("GET https://ann:hunter2@example.org/x", "hunter2"),
    ],
    ids=[
        "token",
        "key",
        "half a key",
        "seal",
        "ssh",
        "option",
        "quoted",
        "json",
        "escaped",
        "spaced",
        "pwd",
        "dashed",
        "command",
        "header",
        "address",
    ],
)
def test_what_looks_like_a_secret_is_taken_out(text: str, secret: str) -> None:
    for found in (clean(text), json.dumps(without_secrets({"a": [text], text: 1}))):
        assert secret not in found and "(left out)" in found


@pytest.mark.parametrize(
    "text",
    [
        "hollow-00001: 4 MiB more are wanted than the host has",
        "sha256:" + "0f" * 32,
        "6a0c9d5e-0f3b-4c55-9f7e-52c2d5a5b1a0",
        "/var/lib/megafleet/images/golden@1",
        "operator/alice: web, generation 2; placement.per_host",
    ],
)
def test_what_tells_something_stays(text: str) -> None:
    assert clean(text) == text


def test_a_record_says_where_a_command_was_run_and_not_what_it_was() -> None:
    record = {"action": "vms_run", "after": "3 VMs on 1 host as root: echo root:hunter2 | chpasswd"}
    assert without_command(record)["after"] == "3 VMs on 1 host as root: (left out)"
    scaled = {"action": "scale", "after": "3"}
    assert without_command(scaled) == scaled


def test_a_value_under_the_name_of_a_secret_is_left_out() -> None:
    found = without_secrets({"db_password": "hunter2", "tokens": 3, "token": ""})
    assert found == {"db_password": "(left out)", "tokens": 3, "token": ""}


def test_what_vms_are_handed_is_left_out_whatever_it_is() -> None:
    file = {"identity": {"user_data": "x", "values": {"a": ["b"]}, "ssh_keys": ["k"]}, "vcpus": 1}
    assert without_secrets(file) == {
        "identity": dict.fromkeys(("user_data", "values", "ssh_keys"), "(left out)"), "vcpus": 1
    }  # fmt: skip


def test_names_and_addresses_are_replaced_alike_wherever_they_stand() -> None:
    hide = Anonymity({"fleet": ["web", "web-2"], "host": ["h1", "h10"], "person": ["ann", ""]})
    told = {"h10": "web-2-250 on h10 (10.1.2.3:7443), by operator/ann", "b": ["10.1.2.3", "h1:"]}
    assert hide.document(told) == {
        "host-2": "fleet-2-250 on host-2 (address-1:7443), by operator/person-1",
        "b": ["address-1", "host-1:"],
    }
    assert hide.text("db.example.org, fe80::1:2:3, 02:00:0a:00:00:01") == (
        "machine-1, address-2, address-3"
    )
    assert hide.text("db.example.org again; version 6.12.117-1 at 12:30:45; webcam") == (
        "machine-1 again; version 6.12.117-1 at 12:30:45; webcam"
    )


def test_each_of_many_addresses_is_a_word_of_its_own() -> None:
    """As many as the logs of a large cluster name; numbering them took minutes."""
    count = 30_000
    text = " ".join(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(count))
    words = Anonymity({}).text(text).split()
    assert words == [f"address-{n}" for n in range(1, count + 1)]


@given(st.lists(st.from_regex(r"[a-z][a-z0-9-]{2,12}[a-z0-9]", fullmatch=True), unique=True))
def test_no_name_is_left(names: list[str]) -> None:
    text = " ".join(f"{name}: {name}/{name}." for name in names)
    words = set(Anonymity({"host": names}).text(text).replace("/", " ").replace(":", " ").split())
    assert not {word.rstrip(".") for word in words} & {*names} - {
        f"host-{number}" for number in range(len(names) + 1)
    }
