"""A support bundle's texts: no secret stays, and names are replaced alike wherever they stand."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.certificates.join_token import JoinToken
from fleet.transport import Role
from fleetctl.support.anonymity import Anonymity
from fleetctl.support.archive import anonymity_of
from fleetctl.support.names import names_in
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
        ("GET https://ann:pa@ss@hunter2@example.org/x", "hunter2"),
        ("PASS=hunter2 mysql", "hunter2"),
        ("export DB_PASS='hunter2 too'", "hunter2"),
        ("rootpass=hunter2 quiet", "hunter2"),
        ("root=/dev/xvda wifi.psk=hunter2 ro", "hunter2"),
        ("wpa_supplicant: psk: hunter2", "hunter2"),
        ("iscsi auth=hunter2 ro", "hunter2"),
        ("root=/dev/xvda rd.passphrase=hunter2 ro", "hunter2"),
        ("db_pass: hunter2", "hunter2"),
        ('{"level": "info", "pass": "hunter2 too"}', "hunter2"),
        (r"said {\"auth\": \"hunter2\"}", "hunter2"),
        ("curl --pass hunter2 x", "hunter2"),
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
        "address with @",
        "pass",
        "db pass",
        "rootpass",
        "psk",
        "psk in yaml",
        "auth",
        "passphrase",
        "pass in yaml",
        "pass in json",
        "auth escaped",
        "pass option",
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
        "compass=north bypass=on com.example.encompass=3 overpass=a author=ann authority=b",
        "author: ann; authorized: no; auth: certificate has ended; first pass: 3 moved",
        'passed=3 passes: 4, {"pass": 3, "author": "ann"} --author ann --bypass cache',
        "https://example.org/images@1 and GET https://example.org:8443/x/@v/list",
    ],
)
def test_what_tells_something_stays(text: str) -> None:
    assert clean(text) == text


NAMES = st.from_regex(r"[a-z][a-z0-9]{0,9}", fullmatch=True)
MARKS = st.sampled_from(["PASS", "pass", "psk", "auth", "passphrase", "password"])


@given(st.lists(NAMES, max_size=3), st.sampled_from("_.-"), MARKS, st.sampled_from(["", "1"]))
def test_a_value_goes_whatever_stands_before_the_name_of_a_secret(
    before: list[str], by: str, mark: str, number: str
) -> None:
    name = by.join([*before, mark]) + number
    assert clean(f"ro {name}=Hunter-2 quiet") == f"ro {name}=(left out) quiet"
    assert without_secrets({name: "Hunter-2"}) == {name: "(left out)"}


ORDINARY = st.sampled_from(
    ["bypass", "compass", "encompass", "surpass", "trespass", "overpass", "underpass", "author",
     "authors", "authority", "authorised", "passage", "passenger", "passive", "passed", "passes"]
)  # fmt: skip


@given(st.lists(NAMES, max_size=2), st.sampled_from("_.-"), ORDINARY, st.booleans())
def test_ordinary_words_keep_what_they_say(
    before: list[str], by: str, word: str, capitals: bool
) -> None:
    name = by.join([*before, word.upper() if capitals else word])
    if not any("pwd" in one for one in before):
        assert clean(f"ro {name}=north quiet") == f"ro {name}=north quiet"
        assert clean(f"{name}: north") == f"{name}: north"
        assert without_secrets({name: "north"}) == {name: "north"}


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


FOUND: dict[str, Any] = {
    "fleets.json": {
        "fleets": [{
            "fleet": "web", "owners": ["olga"],
            "schedule": {"applied_by": "operator/anton", "held_by": "operator/hana",
                         "by_hand": "viewer/bea"},
        }]
    },
    "status.json": {"fleets": [{"fleet": "web", "changed_by": "operator/carl"}]},
    "events.json": {
        "events": [
            {"kind": "host_removed", "host": "h-gone", "message": "h-gone is removed",
             "actor": "operator/rita"},
            {"kind": "denied", "message": "operator/dora is denied: she left; see controller/c9.",
             "actor": "leader"},
            {"kind": "role_taken", "message": "ines has no role any more"},
        ]
    },
    "history.json": {
        "records": [
            {"action": "delete", "fleet": "shop", "host": None, "actor": "operator/rita"},
            {"action": "drain", "fleet": None, "host": "h-older", "actor": "leader"},
            {"action": "owners", "before": "nobody", "after": "olga, paul and 3 more"},
            {"action": "users_add", "before": "", "after": "kurt is edit of web"},
            {"action": "role_quota", "before": "editor: no bound", "after": "editor: 3 VMs"},
        ]
    },
    "log-1-agent.log": "said by agent/h-heard; at /usr/lib/controller/fleetctl; agent/controller",
}  # fmt: skip


def test_names_are_those_of_all_who_are_told_of_also_where_they_are_gone() -> None:
    assert names_in(FOUND) == {
        "fleet": {"web", "shop"},
        "host": {"h-gone", "h-older", "h-heard"},
        "person": {
            "olga", "anton", "hana", "bea", "carl", "rita", "dora", "ines", "paul", "kurt"
        },
        "controller": {"c9"},
    }  # fmt: skip


def test_an_anonymous_bundle_has_no_name_that_is_known_or_told() -> None:
    known = {"fleet": {"web"}, "host": {"h-live"}, "label": {"rack-7"}}
    hide = anonymity_of(FOUND, known)
    told = json.dumps(
        [hide.document(FOUND), hide.text("h-live of rack-7 is h-gone's heir, shop-3")]
    )
    names = {name for some in (known, names_in(FOUND)) for kind in some.values() for name in kind}
    assert not [name for name in names if name in told.replace("nobody", "")]
    assert "host-3 of label-1 is host-1's heir, fleet-1-3" in told
    assert "/usr/lib/controller/fleetctl" in told


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
