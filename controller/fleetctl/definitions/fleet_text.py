"""The fleet file that VMs like a given guest would have, with what could not be carried over.

What it holds was checked by the table of fields, and the whole is read once as a fleet file is: so
`fleetctl apply` takes what is printed here.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fleet.identity import MAX_NAME_LENGTH
from fleet.template.field import shown, written, wrong_with
from fleet.template.fields import FIELDS, LISTS
from fleetctl.definitions.guest import BadDefinition, Guest, GuestDisk, GuestInterface
from fleetctl.outcome import one_line
from megafleet.fleet_file.documents import FleetFileError
from megafleet.fleet_file.parser import parse_fleet_file

_FIELDS = {one.path: one for one in FIELDS}
_WIDTH = 96
MOST_TOLD = 100
_CD_TARGETS = ("hdc", "hdd", "hda", "hdb")


@dataclass(frozen=True, slots=True)
class FleetText:
    """`steps`: what is to be done before it is applied. `left_out`: what was not carried over, or
    otherwise than it stood."""

    text: str
    steps: tuple[str, ...]
    left_out: tuple[str, ...]


@dataclass(slots=True)
class _File:
    """A fleet file being made: sections in order."""

    tree: dict[str, Any] = field(default_factory=dict)
    steps: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def put(self, path: str, value: Any) -> bool:
        """Whether it may stand there; what may not is told."""
        one = _FIELDS[path]
        if problem := wrong_with(one, value):
            self.left_out.append(f"{path}: {problem}")
            return False
        section, _, name = path.rpartition(".")
        place = self.tree.setdefault(section, {}) if section else self.tree
        place[name] = value
        return True


def fleet_text(guest: Guest, image: str = "") -> FleetText:
    """`image`: NAME@SNAPSHOT of the golden image; empty: the fleet's own name, @1. Raises
    BadDefinition where it makes no fleet."""
    made = _File(left_out=list(guest.notes))
    made.tree["name"] = name = _fleet_name(guest.name, made)
    golden = _golden(guest)
    image_name, _, snapshot = (image or f"{name}@1").partition("@")
    if not (made.put("image.name", image_name) and made.put("image.snapshot", snapshot)):
        raise BadDefinition(f"{made.left_out[-1]}; say --image NAME@SNAPSHOT")
    if not guest.memory_bytes:
        raise BadDefinition("the definition says no memory")
    if problem := wrong_with(_FIELDS["memory"], guest.memory_bytes):
        raise BadDefinition(f"memory: {problem}")
    if golden is None and not guest.kernel:
        raise BadDefinition("it makes no fleet: there is neither a kernel nor a disk to start from")
    made.tree["memory"] = written(_FIELDS["memory"], guest.memory_bytes)
    made.put("vcpus", guest.vcpus)
    _put_boot(guest, made)
    _put_disks(guest, golden, f"{image_name}@{snapshot}", made)
    _put_networks(guest.interfaces, made)
    return _checked(made)


def _fleet_name(name: str, made: _File) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:MAX_NAME_LENGTH].strip("-")
    fleet = words if words[:1].isalpha() else f"vm-{words}"[:MAX_NAME_LENGTH].strip("-")
    if fleet != name:
        made.left_out.append(f"name: {shown(name)} is now {fleet}, as fleets may be called")
    return fleet


def _golden(guest: Guest) -> GuestDisk | None:
    """The disk that each VM has a clone of: the first that is written to."""
    disks = [one for one in guest.disks if not one.cdrom]
    return next((one for one in disks if not one.read_only), disks[0] if disks else None)


def _put_boot(guest: Guest, made: _File) -> None:
    for name, value in (("kernel", guest.kernel), ("initrd", guest.initrd)):
        if value and made.put(f"boot.{name}", value):
            made.steps.append(f"have {value} on every host")
    if guest.cmdline and guest.kernel:
        made.put("boot.cmdline", guest.cmdline)
    for name, value in (("firmware", guest.firmware), ("loader", guest.loader)):
        if value:
            made.tree.setdefault("boot", {})[name] = value


def _put_disks(guest: Guest, golden: GuestDisk | None, image: str, made: _File) -> None:
    if golden is None:
        made.tree["disk"] = {"target": ""}
        made.left_out.append(f"image: the guest has no disk, and a fleet names one: {image}")
    else:
        if made.put("disk.target", golden.target) and golden.read_only:
            made.tree["disk"]["read_only"] = True
        path = one_line(shlex.quote(golden.path))
        made.steps.append(f"bring its disk in: fleetctl images import {image} {path}")
    taken = {"" if golden is None else golden.target}
    entries: list[Mapping[str, Any]] = []
    for one in guest.disks:
        if one is golden:
            continue
        if len(entries) == LISTS["disks[]"].most:
            made.left_out.append(f"disk {shown(one.target)[1:-1]}: left out, as no more fit")
        elif entry := _further(one, guest.name, taken, made):
            entries.append(entry)
    _put_list("disks[]", entries, made)


def _further(disk: GuestDisk, name: str, taken: set[str], made: _File) -> Mapping[str, Any] | None:
    """An entry of `disks`; None where it cannot be one, which is told."""
    what = f"disk {shown(disk.target)[1:-1]}"
    if not disk.path:
        made.left_out.append(f"{what}: has nothing in it, and is left out")
        return None
    if not disk.raw:
        made.left_out.append(f"{what}: {shown(disk.path)} is not raw, and is left out")
        return None
    path = _own_path(disk.path, name)
    if path != disk.path:
        made.steps.append(f"have {shown(path)[1:-1]} on every host, for each VM that it runs")
    elif not disk.read_only:
        made.left_out.append(
            f"{what}: {shown(path)} is written to, and would be one for all VMs; left out"
        )
        return None
    target = disk.target
    if disk.cdrom and target not in _CD_TARGETS:
        target = next((one for one in _CD_TARGETS if one not in taken), "")
        made.left_out.append(f"{what}: is the CD drive {target}")
    entry: dict[str, Any] = {"target": target, "path": path, "read_only": disk.read_only}
    if disk.cdrom:
        entry |= {"read_only": True, "cdrom": True}
    for key in ("target", "path"):
        if problem := wrong_with(_FIELDS[f"disks[].{key}"], entry[key]):
            made.left_out.append(f"{what}: left out, since its {key} {problem}")
            return None
    taken.add(target)
    return entry


def _own_path(path: str, name: str) -> str:
    """With {name} where the guest's name stands as a word."""
    if not name or re.search(r"[{}]", path):
        return path
    return re.sub(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", "{name}", path)


def _put_networks(interfaces: Iterable[GuestInterface], made: _File) -> None:
    entries = []
    for number, one in enumerate(interfaces):
        entry: dict[str, Any] = {"bridge": one.bridge}
        if problem := wrong_with(_FIELDS["network.bridge"], one.bridge):
            made.left_out.append(f"interface {number}: left out, since its bridge {problem}")
            continue
        if one.mac:
            if problem := wrong_with(_FIELDS["network.mac_base"], one.mac):
                made.left_out.append(f"interface {number}: its MAC address is left out: {problem}")
            else:
                entry["mac_base"] = one.mac.lower()
        entries.append(entry)
    if entries:
        made.tree["network"] = entries[0]
        _put_list("networks[]", entries[1:], made)


def _put_list(path: str, entries: Sequence[Mapping[str, Any]], made: _File) -> None:
    listed = LISTS[path]
    if len(entries) > listed.most:
        over = len(entries) - listed.most
        made.left_out.append(f"{listed.name}: {over} are left out; at most {listed.most} fit")
    if entries:
        made.tree[listed.name] = list(entries[: listed.most])


def _checked(made: _File) -> FleetText:
    import yaml

    body = yaml.safe_dump(made.tree, sort_keys=False, width=_WIDTH, allow_unicode=False)
    try:
        parse_fleet_file(body, "the fleet file")
    except FleetFileError as error:
        first = error.mistakes[0]
        where = f"{first.path}: " if first.path else ""
        raise BadDefinition(f"it makes no fleet: {where}{first.problem}") from error
    if (over := len(made.left_out) - MOST_TOLD) > 0:
        made.left_out[MOST_TOLD:] = [f"and {over:,} more of the kind"]
    comments = [f"# Before it is applied: {one}" for one in made.steps]
    comments += [f"# Not carried over, or changed: {one}" for one in made.left_out]
    head = "\n".join(comments)
    text = f"{head}\n\n{body}" if head else body
    return FleetText(text, tuple(made.steps), tuple(made.left_out))
