"""What the placeholders of a template become for one VM: all of it follows from its index."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from fleet.template.identity_fields import value_of
from fleet.template.placeholders import FROM_NETWORK, NAME_PLACEHOLDERS, PLACEHOLDERS, asked_for
from fleet_agent.core.model import Batch


def vm_values(batch: Batch, index: int, texts: Iterable[str]) -> dict[str, str]:
    """Of the placeholders that stand in these texts; unknown ones are left out.

    Raises ValueError when something of the network is asked for that this VM has not.
    """
    asked = {name for text in texts for name in asked_for(text)}
    values = {name: _value(batch, index, name) for name in sorted(asked & PLACEHOLDERS.keys())}
    own = batch.spec.identity.values
    return values | {name: value_of(own[name], index) for name in sorted(asked & own.keys())}


def name_values(batch: Batch, index: int) -> dict[str, str]:
    """Of the placeholders that every name may ask for."""
    return {name: _value(batch, index, name) for name in NAME_PLACEHOLDERS}


def _value(batch: Batch, index: int, name: str) -> str:
    fleet, network = batch.fleet, batch.spec.network
    needed = FROM_NETWORK.get(name)
    if needed and not getattr(network, needed):
        what = "address" if needed == "prefix" else needed
        raise ValueError(
            f"{fleet.domain_name(index)} has no {what}: the fleet's network has no {needed}"
        )
    found: dict[str, Callable[[], str]] = {
        "name": lambda: fleet.domain_name(index),
        "index": lambda: str(index),
        "mac": lambda: fleet.interface_mac(index, 0, network.mac_base),
        "address": lambda: fleet.interface_address(index, network.prefix),
        "ip": lambda: fleet.address(index, network.prefix),
        "prefix_length": lambda: network.prefix.partition("/")[2],
        "gateway": lambda: network.gateway,
        "dns": lambda: ",".join(network.dns),
    }
    return found[name]()
