"""A host as its agent announces it: checked, bounded, and one claimant a name; and what is said
of one that cannot be asked."""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import structs

from fleet.labels import label_problem
from fleet.v1 import types_pb2 as types
from fleet_controller.core.announced_holdings import announced_holdings
from fleet_controller.core.model import LONGEST, Capacity, HostRecord
from fleet_controller.core.refusals import Reason, Refused

# A name, an IPv4 address, or an IPv6 one in brackets; then a port.
_ADDRESS = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9.-]{0,252}|\[[0-9A-Fa-f:.]{2,45}\]):([0-9]{1,5})")
# Records of many hosts share a transaction: none may fill it.
MAX_LABELS = 64
MAX_TEXT = 255


def announced(
    have: HostRecord | None,
    host_id: str,
    address: str,
    facts: types.HostFacts,
    live: bool,
    boot_id: str = "",
    approving: bool = False,
) -> HostRecord:
    """The host's record after an Announce.

    `live`: whether the host that is known by this name may be live. `boot_id`: of its present boot
    while it is linked; a copy of a host, ledger and all, has another one. `approving`: a new host
    waits for approval. Raises Refused for facts
    that make no sense, and for a second live claimant of the name.
    """
    _check_address(address)
    _check_texts(facts)
    if have and live:
        _check_claimant(have, facts, boot_id)
    record = structs.replace(
        have or HostRecord(host_id, address, awaits_approval=approving),
        address=address,
        machine_id=facts.machine_id,
        incarnation=facts.incarnation,
        agent_version=facts.agent_version,
        hypervisor=facts.hypervisor,
        storage=facts.storage,
        upgrades=facts.upgrades,
        # Of a pinned host too: an operator vouches for what it may have, not for what it has.
        holdings=announced_holdings(facts),
    )
    return record if record.pinned else _with_claims(record, facts)


def _with_claims(record: HostRecord, facts: types.HostFacts) -> HostRecord:
    """With the labels and the capacity that the host claims."""
    capacity = facts.capacity
    return structs.replace(
        record,
        labels=_usable(facts.labels),
        capacity=Capacity(
            capacity.guests,
            min(capacity.memory_bytes, LONGEST),  # what a record can say
            capacity.disks,
            capacity.vifs,
            capacity.event_channels,
            facts.clones.most,
            capacity.boots,
        ),
        binding_limit=capacity.binding_limit,
    )


def _usable(labels: Mapping[str, str]) -> dict[str, str]:
    """Those that fleets can name. The others are left out, and the host is taken all the same: an
    agent that is older than the rule still has VMs to run."""
    return {key: value for key, value in sorted(labels.items()) if not label_problem(key, value)}


def _check_claimant(have: HostRecord, facts: types.HostFacts, boot_id: str) -> None:
    """Raises Refused where another dom0 announces itself than the one that is linked."""
    other = ""
    if have.incarnation != facts.incarnation:
        other = "with another incarnation"
    elif boot_id and facts.boot_id and boot_id != facts.boot_id:
        other = "in another boot, with the same ledger"
    if other:
        raise Refused(
            Reason.DUPLICATE_HOST,
            f"host {have.id} is known at {have.address} {other}: two dom0s use one certificate; "
            "give this one its own",
        )


def out_of_reach(host_id: str, silent_seconds: float, why: str) -> Refused:
    """The refusal of a request to a host that cannot be reached. `silent_seconds`: since it was
    last heard; negative when this leader never heard it."""
    since = f"last heard {_ago(silent_seconds)} ago" if silent_seconds >= 0 else "not heard yet"
    reason = f": {why}" if why else ""
    return Refused(Reason.HOST_UNREACHABLE, f"host {host_id} cannot be reached ({since}){reason}")


def _ago(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _check_address(address: str) -> None:
    found = _ADDRESS.fullmatch(address)
    if not found or not 1 <= int(found[1]) <= 65535:
        raise Refused(
            Reason.BAD_ANNOUNCE, f"{address[:80]!r} is not an address such as 10.0.0.7:7443"
        )


def _check_texts(facts: types.HostFacts) -> None:
    texts = {
        "machine id": facts.machine_id,
        "boot id": facts.boot_id,
        "incarnation": facts.incarnation,
        "agent version": facts.agent_version,
        "hypervisor": facts.hypervisor,
        "storage": facts.storage,
        "binding limit": facts.capacity.binding_limit,
    }
    _check_lengths(texts)
    check_labels(facts.labels)


def check_labels(labels: Mapping[str, str]) -> None:
    """Raises Refused for labels that no host may have."""
    if len(labels) > MAX_LABELS:
        raise Refused(
            Reason.BAD_ANNOUNCE, f"a host has at most {MAX_LABELS} labels, not {len(labels)}"
        )
    _check_lengths(
        {f"label {key[:40]!r}": max(key, value, key=len) for key, value in labels.items()}
    )


def _check_lengths(texts: Mapping[str, str]) -> None:
    for what, text in texts.items():
        if len(text) > MAX_TEXT:
            raise Refused(
                Reason.BAD_ANNOUNCE,
                f"the host's {what} has {len(text):,} characters; at most {MAX_TEXT}",
            )
