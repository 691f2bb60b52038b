"""What is wrong with a fleet's template, field by field and with fields beside one another."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from fleet.spec_texts import gateway_problem
from fleet.template.boot_ways import boot_problems
from fleet.template.clones import start_problems
from fleet.template.devices import bridge_problems, disk_problems, mac_problems
from fleet.template.field import Field, Kind, allowed, value_of, written, wrong_with
from fleet.template.fields import FIELDS, LISTS, OPTIONAL_SECTIONS
from fleet.template.identity_fields import SEED_TARGETS, wrong_identity
from fleet.template.placeholders import FROM_NETWORK, asked_for
from fleet.template.schedules import wrong_schedule
from fleet.v1 import types_pb2 as types


def check_spec(spec: types.FleetSpec) -> list[str]:
    """Everything that is wrong with a spec, one sentence each; empty when it may be applied."""
    found = [
        f"{listed.name}: must be at most {listed.most}; got {count}"
        for listed in LISTS.values()
        if (count := len(listed.items(spec))) > listed.most
    ]
    for one, path, value in held(spec):
        if one.kind is Kind.TEXT and value == "" and one.default is not None:
            continue
        if problem := wrong_with(one, value):
            found.append(f"{path}: {problem}")
    return found + list(_wrong_together(spec))


def check_numbers(spec: types.FleetSpec) -> list[str]:
    """What is wrong with the numbers of a spec that was accepted once: only what no release has
    ever allowed, such as infinity. Empty when it may be carried out."""
    return [
        f"{path}: must be a number of at least 0; got {value}"
        for one, path, value in held(spec)
        if one.kind in (Kind.RATE, Kind.DURATION) and not 0 <= value < math.inf
    ]


def held(spec: types.FleetSpec) -> Iterator[tuple[Field, str, Any]]:
    """Each field of the table with its path and value, as often as it stands in the spec; without
    those of optional sections that are absent."""
    for one in FIELDS:
        if listed := LISTS.get(one.section):
            last = one.path.rpartition(".")[2]
            for number, item in enumerate(listed.items(spec)[: listed.most]):
                yield one, f"{listed.name}[{number}].{last}", getattr(item, last)
        elif one.holds != "" and _has_section(spec, one.section):
            yield one, one.path, value_of(spec, one.message_path)


def _has_section(spec: types.FleetSpec, section: str) -> bool:
    return (
        section not in OPTIONAL_SECTIONS
        or (section == "network" and spec.HasField("network"))
        or (section == "identity" and spec.HasField("identity"))
        or (section == "disruption" and spec.HasField("disruption"))
        or (section == "schedule" and spec.HasField("schedule"))
    )


def check_given(spec: types.FleetSpec) -> list[str]:
    """What is wrong with what a spec says, for those who carry it out; empty when they can. What it
    leaves out is not missed, choices may be those of a newer release, and a number may be lower
    than is accepted now."""
    return [
        f"{path}: {problem}"
        for one, path, value in held(spec)
        if value and (problem := _cannot_be(one, value))
    ]


def _cannot_be(one: Field, value: Any) -> str | None:
    if one.kind in (Kind.TEXT, Kind.LABELS, Kind.TEXTS, Kind.VALUES):
        return wrong_with(one, value)
    if one.kind in (Kind.CHOICE, Kind.FLAG) or 0 <= value <= one.high:
        return None
    return f"must be {allowed(one)}; got {written(one, value)}"


def _wrong_together(spec: types.FleetSpec) -> Iterator[str]:
    """What fields that are each good may still not be beside one another."""
    if not (spec.readiness.domain_active or spec.readiness.console_pattern):
        yield "readiness: must be active: true, or a console pattern"
    yield from _wrong_asked(spec, "boot.cmdline", spec.boot.cmdline)
    if spec.more_networks and not spec.HasField("network"):
        yield "networks: are the second interface and those after it; network, the first, is absent"
    for path, network in _networks(spec):
        if problem := gateway_problem(network.gateway, network.prefix):
            yield f"{path}.gateway: {problem}"
    yield from boot_problems(spec)
    yield from start_problems(spec)
    seeds = SEED_TARGETS if spec.HasField("identity") else ()
    yield from disk_problems(spec.disk.target, spec.more_disks[: LISTS["disks[]"].most], seeds)
    yield from bridge_problems(spec)
    yield from mac_problems([spec.network, *spec.more_networks[: LISTS["networks[]"].most]])
    if spec.HasField("schedule"):
        yield from wrong_schedule(spec.schedule)
    if spec.HasField("identity"):
        yield from wrong_identity(spec.identity)
        if not spec.identity.user_data_verbatim:
            yield from _wrong_asked(spec, "identity.user_data", spec.identity.user_data)


def _networks(spec: types.FleetSpec) -> Iterator[tuple[str, types.Network]]:
    """Each with its path."""
    yield "network", spec.network
    for number, network in enumerate(spec.more_networks[: LISTS["networks[]"].most]):
        yield f"networks[{number}]", network


_NEEDED = {
    "prefix": "the network that addresses come from",
    "gateway": "which says where it is",
    "dns": "which lists whom to ask",
}


def _wrong_asked(spec: types.FleetSpec, path: str, text: str) -> Iterator[str]:
    """Placeholders of a text for which the first network has nothing."""
    for name in dict.fromkeys(asked_for(text)):
        field_name = FROM_NETWORK.get(name)
        if field_name and not getattr(spec.network, field_name):
            yield f"{path}: {{{name}}} needs network.{field_name}, {_NEEDED[field_name]}"
