"""Secrets, taken out of whatever is to be handed on. Pure.

Nothing that fleetctl asks for ought to hold any but what people write into fleet files. All of it
is looked at all the same, and what looks like a secret goes: keys, tokens, passwords.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fleet.certificates.join_token import KIND

OUT = "(left out)"
# Of a fleet file: what people hand to their VMs.
_PRIVATE_FIELDS = frozenset({"user_data", "values", "ssh_keys"})
# A private key, a certificate: whatever is armoured.
_ARMOUR = re.compile(r"-----BEGIN [A-Z0-9 ]{1,60}-----.*?(-----END [A-Z0-9 ]{1,60}-----|\Z)", re.S)
_SSH_KEY = re.compile(r"\b(ssh|ecdsa|sk)-[a-z0-9@.-]{1,60} [A-Za-z0-9+/=]{20,}")
_JOIN_TOKEN = re.compile(rf"\b{KIND}\.[a-z2-7]{{4,16}}\.[a-z2-7.]+")
_SECRET_NAME = (
    r"[a-z0-9_.-]{0,40}(?:passw(?:or)?d|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key|"
    r"private[_-]?key|credential)[a-z0-9_.-]{0,40}"
)
# Short ones are parts of ordinary words as well (compass, author): they end the name, and what is
# before them is set off. Only `pass` is also written together with it, as in rootpass.
_SHORT_NAME = (
    r"(?:(?<!by)(?<!com)(?<!sur)(?<!tres)(?<!over)(?<!under)pass"
    r"|(?<![a-z0-9])(?:psk|o?auth|pw))[0-9]{0,3}"
)
_VALUE = r"(?:\"[^\"]*\"|'[^']*'|[^\s,;]+)"
_IS_SECRET_NAME = re.compile(rf"(?i){_SECRET_NAME}|[a-z0-9_.-]{{0,60}}{_SHORT_NAME}")
# name=value and name: value, also where the name stands in quotes as in JSON.
_NAMED = re.compile(
    rf"(?i)\b({_SECRET_NAME}(?:\\{{0,3}}[\"'])?\s{{0,3}}[=:]\s{{0,3}})"
    rf"{_VALUE}"
)
# The same of short ones. Behind `pass:` and `auth:` there may be an ordinary sentence.
_NAMED_SHORT = re.compile(
    rf"(?i)({_SHORT_NAME}(?:\s{{0,3}}=\s{{0,3}}"
    rf"|\\{{0,3}}[\"']\s{{0,3}}[=:]\s{{0,3}}(?=\\{{0,3}}[\"']))"
    rf"|(?:(?<=_){_SHORT_NAME}|\bpsk)\s{{0,3}}:\s{{0,3}})"
    rf"{_VALUE}"
)
_OPTION = re.compile(
    rf"(?i)(?<![a-z0-9])(--(?:{_SECRET_NAME}|[a-z0-9_.-]{{0,60}}{_SHORT_NAME}) {{1,3}}){_VALUE}"
)
# As the leader tells it: what people type into their VMs may hold anything.
_COMMAND = re.compile(r"(\ba command was run in [^:\n]{1,200}: )[^\n]+")
_BEARER = re.compile(r"(?i)\b(bearer|basic) [A-Za-z0-9._~+/=-]{8,}")
# Up to the last @ before the path: a password may have some.
_IN_URL = re.compile(r"(\b[a-z][a-z0-9+.-]{1,20}://)[^/\s]{1,1000}@")
# Long and unreadable, and no digest or id, which are hexadecimal: a key, a token.
_BLOB = re.compile(
    r"(?<![A-Za-z0-9+/=])(?=[A-Za-z0-9+/]*\d)(?=[A-Za-z0-9+/]*[A-Z])(?=[A-Za-z0-9+/]*[a-z])"
    r"[A-Za-z0-9+/]{40,}={0,2}"
)


def without_secrets(value: Any) -> Any:
    """The same document without them."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, Mapping):
        return {
            clean(str(key)): OUT if one and _is_secret(str(key), one) else without_secrets(one)
            for key, one in value.items()
        }
    if isinstance(value, list | tuple):
        return [without_secrets(one) for one in value]
    return value


def without_command(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record of the audit trail. A command that was run in VMs is told without what it was."""
    if record.get("action") != "vms_run" or not record.get("after"):
        return dict(record)
    where = str(record["after"]).partition(": ")[0]
    return {**record, "after": f"{where}: {OUT}"}


def _is_secret(key: str, value: Any) -> bool:
    named = isinstance(value, str) and _IS_SECRET_NAME.fullmatch(key) is not None
    return named or key in _PRIVATE_FIELDS


def clean(text: str) -> str:
    """A text without secrets."""
    text = _ARMOUR.sub(OUT, text)
    text = _SSH_KEY.sub(OUT, text)
    text = _IN_URL.sub(rf"\1{OUT}@", text)
    text = _BEARER.sub(rf"\1 {OUT}", text)
    text = _COMMAND.sub(rf"\1{OUT}", text)
    text = _NAMED.sub(rf"\1{OUT}", text)
    text = _NAMED_SHORT.sub(rf"\1{OUT}", text)
    text = _OPTION.sub(rf"\1{OUT}", text)
    text = _JOIN_TOKEN.sub(OUT, text)
    return _BLOB.sub(OUT, text)
