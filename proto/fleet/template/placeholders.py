"""Placeholders in the texts of a template: `{name}` becomes that of each VM, `{{` and `}}` are
braces. One grammar, for all sides and all texts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from fleet.identity import MAX_INDEX, MAX_NAME_LENGTH, MAX_PREFIX_LENGTH

_LONGEST_IP = len("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")
MAX_DNS = 3  # resolv.conf takes no more

# What every template may ask for, and the longest that each becomes.
PLACEHOLDERS: Mapping[str, int] = {
    "name": MAX_NAME_LENGTH + 1 + len(str(MAX_INDEX)),
    "index": len(str(MAX_INDEX)),
    "mac": len("02:00:00:00:00:00"),
    "address": _LONGEST_IP + len("/128"),
    "ip": _LONGEST_IP,
    "prefix_length": len(str(MAX_PREFIX_LENGTH)),
    "gateway": _LONGEST_IP,
    "dns": MAX_DNS * (_LONGEST_IP + 1) - 1,
}
# The same for people.
MEANINGS: Mapping[str, str] = {
    "name": "the VM's name, such as spv-250",
    "index": "its index",
    "mac": "the MAC address of its first interface",
    "address": "its address in `network.prefix` with the prefix's length: 10.0.0.2/8",
    "ip": "the same without the length: 10.0.0.2",
    "prefix_length": "the length alone: 8",
    "gateway": "`network.gateway`",
    "dns": "`network.dns`, separated by commas",
}
# What a name of a disk or of a VM may ask for.
NAME_PLACEHOLDERS = ("name", "index")
# The field of the first network that each follows from.
FROM_NETWORK: Mapping[str, str] = {
    "address": "prefix",
    "ip": "prefix",
    "prefix_length": "prefix",
    "gateway": "gateway",
    "dns": "dns",
}

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


def filled(text: str, values: Mapping[str, str]) -> str:
    """The text of one VM. What is neither a placeholder of these nor a doubled brace stays."""

    def become(found: re.Match[str]) -> str:
        whole = found[0]
        if whole in ("{{", "}}"):
            return whole[0]
        name = found[1]
        return values[name] if name is not None and name in values else whole

    return _TOKEN.sub(become, text)


def asked_for(text: str) -> Iterator[str]:
    """The names of the placeholders in a text, known or not."""
    return (found[1] for found in _TOKEN.finditer(text) if found[1] is not None)


def asks_for(text: str, *placeholders: str) -> bool:
    """Whether at least one of them stands in the text."""
    return any(name in placeholders for name in asked_for(text))


def placeholder_problem(text: str, offered: Sequence[str]) -> str | None:
    """Placeholders and doubled braces are the only braces."""
    words = [f"{{{name}}}" for name in offered]
    listed = f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else "".join(words)
    for found in _TOKEN.finditer(text):
        if found[0] in ("{", "}"):
            return f"a brace stands alone; {listed} are the placeholders, {{{{ and }}}} are braces"
        if found[1] is not None and found[1] not in offered:
            shown = ascii(found[0] if len(found[0]) <= 60 else found[0][:60] + "...")
            return f"{shown} is no placeholder; {listed} are, {{{{ and }}}} are braces"
    return None


def longest(text: str, lengths: Mapping[str, int] = PLACEHOLDERS) -> int:
    """How long the longest VM's text is. Every placeholder in it is known."""
    return len(filled(text, {name: "x" * length for name, length in lengths.items()}))
