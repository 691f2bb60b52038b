"""What is wrong with an identity beyond its single fields; and values by index."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from fleet.identity import MAX_INDEX, MAX_NAME_LENGTH
from fleet.template.placeholders import (
    NAME_PLACEHOLDERS,
    PLACEHOLDERS,
    asks_for,
    filled,
    placeholder_problem,
)
from fleet.template.user_data import BadUserData, UserData
from fleet.v1 import types_pb2 as types

MAX_VALUES = 16
MAX_VALUE_TEXTS = 1024
MAX_VALUES_BYTES = 64 * 1024
MAX_IDENTITY_BYTES = 128 * 1024
MAX_RANGE_STOP = 2**53  # any reader of JSON holds it exactly

# Where a VM finds its seed: the last letter, so that no disk has another name for it.
SEED_TARGETS = ("xvdz", "vdz")

_VALUE_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_VALUE_TEXT = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]{0,256}")
_HOST_NAME = re.compile(r"(?=.{1,253}$)(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?:\.|$))+")
_LONGEST_NAME = "a" * (MAX_NAME_LENGTH + 1 + len(str(MAX_INDEX)))


def value_of(values: types.VmValues, index: int) -> str:
    """What the placeholder becomes for one VM. The values have nothing wrong."""
    if values.texts:
        return values.texts[index % len(values.texts)]
    return str(values.start + index % (values.stop - values.start))


def values_problem(values: Mapping[str, types.VmValues]) -> str | None:
    if len(values) > MAX_VALUES:
        return f"must be at most {MAX_VALUES}; got {len(values)}"
    size = sum(len(text.encode(errors="replace")) for one in values.values() for text in one.texts)
    if size > MAX_VALUES_BYTES:
        return f"must be at most {MAX_VALUES_BYTES // 1024} KiB in all; got {size} bytes"
    for name, one in sorted(values.items()):
        if problem := _name_problem(name) or _value_problem(one):
            return f"{name[:40]!a} {problem}"
    return None


def _name_problem(name: str) -> str | None:
    if name in PLACEHOLDERS:
        return "is a placeholder already"
    if _VALUE_NAME.fullmatch(name):
        return None
    return "must be 1 to 32 lower-case letters, digits and '_', beginning with a letter"


def _value_problem(values: types.VmValues) -> str | None:
    if values.stop:
        if values.texts or not values.start < values.stop <= MAX_RANGE_STOP:
            return "must be a list of texts, or a range such as 8000-8999"
        return None
    if not 1 <= len(values.texts) <= MAX_VALUE_TEXTS:
        return f"must be 1 to {MAX_VALUE_TEXTS} texts, or a range such as 8000-8999"
    for text in values.texts:
        if not _VALUE_TEXT.fullmatch(text):
            return f"must be texts of one line, at most 256 characters; got {text[:60]!a}"
    return None


def wrong_identity(identity: types.Identity) -> Iterator[str]:
    """What fields of an identity that are each good may still not be beside one another."""
    if (size := identity.ByteSize()) > MAX_IDENTITY_BYTES:
        yield f"identity: must be at most {MAX_IDENTITY_BYTES // 1024} KiB in all; got {size} bytes"
    if values_problem(identity.values):
        return
    if problem := _hostname_problem(identity):
        yield f"identity.hostname: {problem}"
    names = [user.name for user in identity.users]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"identity.users: {name} stands there twice"
    try:
        user_data = UserData(identity.user_data, verbatim=identity.user_data_verbatim)
    except BadUserData as error:
        yield f"identity.user_data: {error}"
        return
    if problem := user_data.problem((*PLACEHOLDERS, *sorted(identity.values))):
        yield f"identity.user_data: {problem}"
    for key, given in (("users", identity.users), ("packages", identity.packages)):
        if given and key in user_data.keys:
            yield f"identity.{key}: the user data has {key} too, which would win; give one"


def is_host_name(text: str) -> bool:
    return bool(_HOST_NAME.fullmatch(text)) and not text.endswith(".")


def _hostname_problem(identity: types.Identity) -> str | None:
    text = identity.hostname
    if problem := placeholder_problem(text, (*NAME_PLACEHOLDERS, *sorted(identity.values))):
        return problem
    for name in _host_names(text, identity.values):
        if not is_host_name(name):
            return (
                f"may become {name[:80]!a}, which is no host name: parts of 1 to 63 letters, "
                "digits and inner '-', with '.' between them"
            )
    return None


def _host_names(text: str, values: Mapping[str, types.VmValues]) -> Iterator[str]:
    """Enough of the names that VMs may get to know that all are good."""
    used = {name: one for name, one in values.items() if asks_for(text, name)}
    longest: Sequence[int] = [len(one.texts) for one in used.values()]
    for number in range(max([1, *longest])):
        own = {
            name: value_of(one, number) if one.texts else str(one.stop - 1)
            for name, one in used.items()
        }
        if text:
            yield filled(text, {"name": _LONGEST_NAME, "index": str(MAX_INDEX), **own})
