"""Which VMs are listed, as it is typed: failed host=h1 rack=r7 0-999 spv-250. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

import click

from fleet.ranges import IndexSet
from fleetctl.cli.arguments import indices, label, vm
from fleetctl.outcome import Misuse
from fleetctl.output import STATES

# No state of the wire: a VM that an operator keeps off.
STOPPED = "stopped"


@dataclass(slots=True)
class VmFilter:
    """What a VM has to be; all of it."""

    state: str | None = None
    stopped: bool = False
    host: str = ""
    indices: IndexSet | None = None
    selector: dict[str, str] = field(default_factory=dict)


def vm_filter(text: str, fleet: str) -> VmFilter:
    """`fleet`: whose VMs are listed. Raises Misuse."""
    found = VmFilter()
    for word in text.split():
        try:
            _add(found, word, fleet)
        except click.BadParameter as error:
            raise Misuse(error.message[:160]) from error
    return found


def _add(found: VmFilter, word: str, fleet: str) -> None:
    if word in STATES:
        found.state = word
    elif word == STOPPED:
        found.stopped = True
    elif word[:1].isdecimal():
        found.indices = indices(word)
    elif word.startswith("host="):
        found.host = word.removeprefix("host=")
    elif "=" in word:
        key, value = label(word)
        found.selector[key] = value
    else:
        found.indices = _named(word, fleet)


def _named(word: str, fleet: str) -> IndexSet:
    try:
        named, index = vm(word)
    except click.BadParameter as error:
        raise Misuse(
            f"{word[:40]!r} is no state, range (0-99), name ({fleet or 'spv'}-7), host=NAME or "
            "label of hosts (rack=r7)"
        ) from error
    if fleet and named and named != fleet:
        raise Misuse(f"{word[:80]} is not of fleet {fleet}: f goes to the next fleet")
    return IndexSet.of([index])
