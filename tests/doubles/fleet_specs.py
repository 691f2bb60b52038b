"""Specs of fleets as files may hold them: any field, with any of its values."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from fleet.spec import check_spec
from fleet.template.field import Field, Kind
from fleet.template.fields import FIELDS, LISTS, OPTIONAL_SECTIONS
from fleet.v1 import types_pb2 as types

# Texts that each field of texts may hold, odd ones among them.
_TEXTS: dict[str, list[str]] = {
    "image.name": ["golden", "a.b_c-d", "1"],
    "image.snapshot": ["1", "v2", "null", "1e3", "true"],
    "image.digest": ["", "sha256:" + "0f" * 32],
    "boot.kernel": ["/boot/vmlinuz", "/srv/kernels/6.12+b1"],
    "boot.initrd": ["", "/boot/initrd.img"],
    "boot.cmdline": ["", "root=/dev/xvda ro", " a: b # {name} ", "'\"{{}}"],
    "disk.target": ["xvda", "vda", ""],
    "disks[].path": ["/srv/a.img", "/srv/{name}.img"],
    "network.bridge": ["br0", "1"],
    "network.prefix": ["", "10.0.0.0/8", "fd00::/64"],
    "networks[].bridge": ["br1"],
    "networks[].prefix": ["", "192.168.0.0/16"],
    "identity.hostname": ["{name}", "", "vm{index}.example.org"],
    "identity.user_data": ["", "#cloud-config\nruncmd:\n  - echo é\n", "x\n\n y: [1\ttab]\n", "~"],
    "identity.users[].name": ["ann", "bob"],
    "identity.users[].shell": ["", "/bin/sh"],
    "readiness.console": ["", "login:", "^ready: [0-9]+ # not a comment$"],
    "placement.spread_label": ["", "rack", "zone"],
    "schedule.time_zone": ["", "UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires"],
    "schedule.points[].at": ["0 8 * * 1-5", "*/5 * * * *", "0 0 29 2 *", "1 2 3 4 5"],
}
_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl a@b"
_LISTS = {
    "identity.ssh_keys": [_KEY],
    "identity.users[].ssh_keys": [_KEY],
    "identity.packages": ["nginx", "gcc-12", "no"],
    "identity.users[].groups": ["wheel", "docker"],
}
_LABELS = st.dictionaries(st.sampled_from(["rack", "zone", "no"]), st.sampled_from(["1", "", "a"]))


def _values(one: Field) -> st.SearchStrategy[Any]:
    match one.kind:
        case Kind.TEXT:
            return st.sampled_from(_TEXTS.get(one.path, [one.default or ""]))
        case Kind.FLAG:
            return st.booleans()
        case Kind.CHOICE:
            return st.sampled_from([*one.choices.values(), *([0] if one.default == "" else [])])
        case Kind.COUNT | Kind.SECONDS:
            most = int(min(one.high, one.low + 9999))
            some = st.integers(int(one.low), most)
            return st.just(0) | some if one.zero else some
        case Kind.SIZE:
            some = st.integers(1, 4096).map(lambda count: count * one.step)
            return st.just(0) | some if one.zero else some
        case Kind.RATE | Kind.DURATION:
            some_float = st.floats(one.low, one.high)
            return st.just(0.0) | some_float if one.zero else some_float
        case Kind.TEXTS:
            return st.lists(st.sampled_from(_LISTS.get(one.path, ["10.0.0.53"])), max_size=2)
        case Kind.LABELS:
            return _LABELS
        case _:
            return st.sampled_from(
                [
                    {},
                    {"port": types.VmValues(start=8000, stop=9000)},
                    {"town": types.VmValues(texts=["Oslo", "null", ""])},
                ]
            )


@st.composite
def fleet_specs(draw: st.DrawFn) -> types.FleetSpec:
    """Each of them good; it has what a file gives that says all of it."""
    spec = types.FleetSpec()
    for name in ("image", "boot", "disk", "readiness", "admission", "placement"):
        getattr(spec, name).SetInParent()
    there = {section for section in sorted(OPTIONAL_SECTIONS) if draw(st.booleans())}
    for section in there:
        getattr(spec, section).SetInParent()
    for one in FIELDS:
        if one.section in LISTS or not one.message_path:
            continue
        if one.section in OPTIONAL_SECTIONS - there:
            continue
        _set(spec, one.message_path, one.kind, draw(_values(one)))
    for listed in LISTS.values():
        section = listed.holds.partition(".")[0]
        if section in OPTIONAL_SECTIONS - there:
            continue
        for _ in range(draw(st.integers(int(section == "schedule"), 2))):
            item = listed.items(spec).add()
            for one in FIELDS:
                if one.section == listed.path:
                    value = draw(_values(one))
                    _set(item, one.path.rpartition(".")[2], one.kind, value)
    _mend(spec, draw)
    return spec


def good_specs() -> st.SearchStrategy[types.FleetSpec]:
    """Those that may be applied."""
    return fleet_specs().filter(lambda spec: not check_spec(spec))


def _mend(spec: types.FleetSpec, draw: st.DrawFn) -> None:
    """Most would contradict themselves: one way to start, and one to be ready."""
    way = draw(st.sampled_from(["kernel", "firmware", "loader"]))
    for name in {"kernel", "firmware", "loader"} - {way}:
        spec.boot.ClearField(name)  # type: ignore[arg-type]
    if way != "kernel":
        spec.boot.ClearField("initrd")
        spec.boot.ClearField("cmdline")
    if not getattr(spec.boot, way):
        setattr(spec.boot, way, "/boot/k" if way == "kernel" else 1)
    spec.readiness.domain_active = not spec.readiness.console_pattern
    spec.start = types.START_BOOT
    for number, disk in enumerate(spec.more_disks):
        disk.target = f"sd{'bc'[number]}"
        disk.read_only, disk.cdrom = True, False
    if not spec.HasField("network"):
        del spec.more_networks[:]


def _set(message: Any, path: str, kind: Kind, value: Any) -> None:
    *sections, last = path.split(".")
    for section in sections:
        message = getattr(message, section)
    if kind is Kind.LABELS:
        getattr(message, last).update(value)
    elif kind is Kind.TEXTS:
        getattr(message, last).extend(value)
    elif kind is Kind.VALUES:
        for key, one in value.items():
            getattr(message, last)[key].CopyFrom(one)
    else:
        setattr(message, last, value)
