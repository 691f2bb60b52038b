"""The files of a seed: derived, and YAML whatever is in them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fleet.identity import Fleet
from fleet.keys import Epoch, Kin, Term
from fleet.ranges import IndexSet
from fleet.v1 import types_pb2 as types
from fleet_agent.core.model import Batch, Mark
from fleet_agent.core.seed.seed_files import SeedWriter, instance_id
from fleet_agent.core.seed.seed_name import SeedName, read_seed_name, seed_file_name

FLEET = Fleet("8e3a4f62-6a0c-4b3e-9d51-0f6a4c1b7d10", "spv", 7, site=1)
KIN = Kin(FLEET.uid, 3, 41)
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0saaaaaaaaaaaaaa me: \"'{}#"


def batch(identity: types.Identity, *networks: types.Network) -> Batch:
    spec = types.FleetSpec(identity=identity, more_networks=networks[1:])
    if networks:
        spec.network.CopyFrom(networks[0])
    return Batch(FLEET, KIN, spec, Mark(Term(1, 10), Epoch(1, 20)), IndexSet.of([5]))


def seed(identity: types.Identity, *networks: types.Network) -> dict[str, str]:
    files = SeedWriter(batch(identity, *networks)).files(5)
    return {name: content.decode() for name, content in files.items()}


def read(text: str) -> Any:
    return yaml.safe_load(text)


def test_the_least_identity_says_who_it_is_and_has_user_data_as_nocloud_wants() -> None:
    files = seed(types.Identity())
    assert files.keys() == {"meta-data", "user-data"} and files["user-data"] == ""
    assert read(files["meta-data"]) == {
        "instance-id": f"{FLEET.domain_uuid(5)}-41",
        "local-hostname": "spv-5",
    }


def test_the_same_index_has_the_same_identity_and_another_birth_is_another_instance() -> None:
    one = batch(types.Identity(user_data="#!/bin/sh\n: {name} {index} {mac}"))
    born_anew = replace(one, kin=Kin(FLEET.uid, 3, 42))
    assert SeedWriter(one).files(5) == SeedWriter(one).files(5)
    assert instance_id(one, 5) != instance_id(born_anew, 5)
    assert SeedWriter(one).files(5)["user-data"] == SeedWriter(born_anew).files(5)["user-data"]


def test_keys_users_and_packages_are_told_as_cloud_init_takes_them() -> None:
    files = seed(
        types.Identity(
            ssh_keys=[KEY],
            users=[
                types.User(name="al", ssh_keys=[KEY], groups=["adm"], sudo=True, shell="/bin/sh")
            ],
            packages=["vim"],
        )
    )
    assert read(files["meta-data"])["public-keys"] == [KEY]
    assert files["vendor-data"].startswith("#cloud-config\n")
    assert read(files["vendor-data"]) == {
        "users": [
            "default",
            {
                "name": "al",
                "lock_passwd": True,
                "ssh_authorized_keys": [KEY],
                "groups": ["adm"],
                "sudo": "ALL=(ALL) NOPASSWD:ALL",
                "shell": "/bin/sh",
            },
        ],
        "packages": ["vim"],
    }


def test_each_interface_is_told_its_own_by_its_mac_address() -> None:
    files = seed(
        types.Identity(),
        types.Network(bridge="a", prefix="10.0.0.0/8", gateway="10.0.0.1", dns=["10.0.0.53"]),
        types.Network(bridge="b"),
        types.Network(bridge="c", prefix="fd00::/64", gateway="fd00::1"),
    )
    assert read(files["network-config"]) == {
        "version": 2,
        "ethernets": {
            "nic0": {
                "match": {"macaddress": FLEET.mac(5)},
                "addresses": ["10.0.0.7/8"],
                "routes": [{"to": "0.0.0.0/0", "via": "10.0.0.1"}],
                "nameservers": {"addresses": ["10.0.0.53"]},
            },
            "nic1": {
                "match": {"macaddress": FLEET.mac(5, 1)},
                "dhcp4": True,
                "optional": True,
            },
            "nic2": {
                "match": {"macaddress": FLEET.mac(5, 2)},
                "addresses": ["fd00::7/64"],
                "routes": [{"to": "::/0", "via": "fd00::1"}],
            },
        },
    }


def test_all_placeholders_become_those_of_the_vm() -> None:
    told = "{name} {index} {mac} {address} {ip} {prefix_length} {gateway} {dns} {role}"
    files = seed(
        types.Identity(
            hostname="{name}.{role}.lab",
            user_data=f"#!/bin/sh\n: {told} {{{{}}}}",
            values={"role": types.VmValues(texts=["db", "web"])},
        ),
        types.Network(prefix="10.0.0.0/8", gateway="10.0.0.1", dns=["9.9.9.9", "10.0.0.1"]),
    )
    assert read(files["meta-data"])["local-hostname"] == "spv-5.web.lab"
    assert files["user-data"] == (
        f"#!/bin/sh\n: spv-5 5 {FLEET.mac(5)} 10.0.0.7/8 10.0.0.7 8 10.0.0.1 9.9.9.9,10.0.0.1 web"
        " {}"
    )


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_text_of_a_fleet_becomes_more_than_a_text(key: str, package: str) -> None:
    identity = types.Identity()
    try:
        identity.ssh_keys.append(key)
        identity.packages.append(package)
    except (ValueError, UnicodeEncodeError):
        return  # no text of a message
    files = seed(identity)
    assert read(files["meta-data"])["public-keys"] == [key]
    assert read(files["vendor-data"]) == {"packages": [package]}


def test_64_kib_of_hostile_user_data_reach_the_guest_byte_by_byte() -> None:
    hostile = ("#cloud-config\n# " + "\"'<&]]>: - | %@` \u00e9\n# " * 4000)[: 60 * 1024]
    assert seed(types.Identity(user_data=hostile))["user-data"] == hostile


@pytest.mark.parametrize(
    ("identity", "says"),
    [
        (types.Identity(hostname="{role}", values={"role": types.VmValues(texts=["a b"])}),
         "spv-5 would be called 'a b', which is no host name"),
        (types.Identity(user_data="{address}"), "spv-5 has no address"),
        (types.Identity(user_data="#cloud-config\n["), "not YAML"),
    ],
)  # fmt: skip
def test_what_cannot_be_an_identity_is_one_sentence(identity: types.Identity, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        seed(identity)


def test_a_seeds_name_says_whose_it_is() -> None:
    name = seed_file_name(batch(types.Identity()), 5)
    assert read_seed_name(name) == SeedName(KIN, 5)
    for other in ("spv-5.iso", f".{name}.part", "x", name + "x", "../" + name):
        assert read_seed_name(other) is None
