"""How values of limits are put in words, and what rows of the table have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fleet_agent.core.limits.dom0_facts import MIB, Dom0Facts, Xen, size_of
from fleet_agent.core.limits.verdicts import Found, NotApplicable, Unread

NO_XEN = NotApplicable("no Xen here")


def memory(value: int) -> str:
    """In GiB or MiB, whichever says it in few digits; small sizes in KiB."""
    if value >= 10 * 1024 * MIB:
        return f"{value / (1024 * MIB):,.1f} GiB".replace(".0 ", " ")
    if value >= MIB:
        return f"{value // MIB:,} MiB"
    return f"{value // 1024:,} KiB"


def named(names: Mapping[int, str]) -> Callable[[int], str]:
    """For settings: what each value means."""
    return lambda value: names.get(value, str(value))


def unread(facts: Dom0Facts, name: str) -> Unread:
    return Unread(facts.unread.get(name, "it could not be read"))


def or_unread(value: int | None, facts: Dom0Facts, name: str) -> Found:
    return unread(facts, name) if value is None else value


def of_xen(read: Callable[[Dom0Facts, Xen], Found]) -> Callable[[Dom0Facts], Found]:
    """For rows that only a dom0 has."""
    return lambda facts: NO_XEN if facts.xen is None else read(facts, facts.xen)


def xen_size(facts: Dom0Facts, xen: Xen, option: str, default: int) -> Found:
    """Bytes that an option of Xen's command line sets."""
    if xen.options is None:
        return unread(facts, "xen_options")
    text = xen.options.get(option)
    if text is None:
        return default
    size = size_of(text)
    return Unread(f"{option}={text} is no size") if size is None else size


def xen_number(facts: Dom0Facts, xen: Xen, option: str, default: int) -> Found:
    if xen.options is None:
        return unread(facts, "xen_options")
    text = xen.options.get(option, str(default))
    try:
        return int(text, 0)
    except ValueError:
        return Unread(f"{option}={text} is no number")
