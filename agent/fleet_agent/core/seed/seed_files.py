"""The files of one VM's seed, as cloud-init's NoCloud reads them.

meta-data says who it is; network-config (version 2) what its interfaces have, by their MAC
addresses; user-data is the fleet's own, and vendor-data is what the fleet file says of users and
packages, so that the user data stays what was given. All of it follows from the fleet, its
template, the index and the birth. YAML is written by the library, from values.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

import yaml

from fleet.template.bridges import networks_of
from fleet.template.identity_fields import is_host_name
from fleet.template.placeholders import filled
from fleet.template.user_data import UserData
from fleet.v1 import types_pb2 as types
from fleet_agent.core.model import Batch
from fleet_agent.core.vm_values import vm_values

_EVERYWHERE = {4: "0.0.0.0/0", 6: "::/0"}


class SeedWriter:
    """Writes the seeds of one batch. Not for several threads at once."""

    def __init__(self, batch: Batch) -> None:
        """Raises ValueError, in one sentence, for what cannot be an identity."""
        self._batch = batch
        self._identity = batch.spec.identity
        self._hostname = self._identity.hostname or "{name}"
        self._user_data = UserData(
            self._identity.user_data, verbatim=self._identity.user_data_verbatim
        )
        self._vendor_data = _vendor_data(self._identity)

    def files(self, index: int) -> Mapping[str, bytes]:
        """By their names. Raises ValueError, in one sentence, where this VM cannot have them."""
        asked = [self._hostname, *self._user_data.places()]
        values = vm_values(self._batch, index, asked)
        made = {
            "meta-data": _yaml(self._meta_data(index, values)),
            "user-data": self._user_data.filled(values),
        }
        if self._vendor_data:
            made["vendor-data"] = self._vendor_data
        if network := _network_config(self._batch, index):
            made["network-config"] = _yaml(network)
        return {name: text.encode() for name, text in made.items()}

    def _meta_data(self, index: int, values: Mapping[str, str]) -> dict[str, Any]:
        hostname = filled(self._hostname, values)
        if not is_host_name(hostname):
            name = self._batch.fleet.domain_name(index)
            raise ValueError(f"{name} would be called {hostname[:80]!a}, which is no host name")
        meta: dict[str, Any] = {
            "instance-id": instance_id(self._batch, index),
            "local-hostname": hostname,
        }
        if self._identity.ssh_keys:
            meta["public-keys"] = list(self._identity.ssh_keys)
        return meta


def instance_id(batch: Batch, index: int) -> str:
    """Of this very birth: one that is born anew is another instance to its guest."""
    return f"{batch.fleet.domain_uuid(index)}-{batch.kin.birth}"


def _vendor_data(identity: types.Identity) -> str:
    config: dict[str, Any] = {}
    if identity.users:
        config["users"] = ["default", *map(_user, identity.users)]
    if identity.packages:
        config["packages"] = list(identity.packages)
    return f"#cloud-config\n{_yaml(config)}" if config else ""


def _user(user: types.User) -> dict[str, Any]:
    told: dict[str, Any] = {"name": user.name, "lock_passwd": True}
    if user.ssh_keys:
        told["ssh_authorized_keys"] = list(user.ssh_keys)
    if user.groups:
        told["groups"] = list(user.groups)
    if user.sudo:
        told["sudo"] = "ALL=(ALL) NOPASSWD:ALL"
    if user.shell:
        told["shell"] = user.shell
    return told


def _network_config(batch: Batch, index: int) -> dict[str, Any]:
    ethernets = {
        f"nic{nic}": _ethernet(batch, index, nic, network)
        for nic, network in enumerate(networks_of(batch.spec))
    }
    return {"version": 2, "ethernets": ethernets} if ethernets else {}


def _ethernet(batch: Batch, index: int, nic: int, network: types.Network) -> dict[str, Any]:
    mac = batch.fleet.interface_mac(index, nic, network.mac_base)
    told: dict[str, Any] = {"match": {"macaddress": mac}}
    if network.mtu:
        told["mtu"] = network.mtu
    if network.prefix:
        told["addresses"] = [batch.fleet.interface_address(index, network.prefix)]
    else:
        told |= {"dhcp4": True, "optional": True}
    if network.gateway:
        everywhere = _EVERYWHERE[ipaddress.ip_address(network.gateway).version]
        told["routes"] = [{"to": everywhere, "via": network.gateway}]
    if network.dns:
        told["nameservers"] = {"addresses": list(network.dns)}
    return told


def _yaml(value: Any) -> str:
    dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return str(yaml.dump(value, Dumper=dumper, sort_keys=False, allow_unicode=True, width=2**30))
