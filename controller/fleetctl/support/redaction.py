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
_NAMED = re.compile(
    r"(?i)\b([a-z0-9_.-]{0,40}(?:passw(?:or)?d|passphrase|secret|token|apikey|api_key|"
    r"private_key|credential)[a-z0-9_.-]{0,40}\s{0,3}[=:]\s{0,3})(\"[^\"]*\"|'[^']*'|[^\s,;]+)"
)
_BEARER = re.compile(r"(?i)\b(bearer|basic) [A-Za-z0-9._~+/=-]{8,}")
_IN_URL = re.compile(r"(\b[a-z][a-z0-9+.-]{1,20}://)[^/\s@]{1,200}@")
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
            clean(str(key)): OUT if key in _PRIVATE_FIELDS and one else without_secrets(one)
            for key, one in value.items()
        }
    if isinstance(value, list | tuple):
        return [without_secrets(one) for one in value]
    return value


def clean(text: str) -> str:
    """A text without secrets."""
    text = _ARMOUR.sub(OUT, text)
    text = _SSH_KEY.sub(OUT, text)
    text = _IN_URL.sub(rf"\1{OUT}@", text)
    text = _BEARER.sub(rf"\1 {OUT}", text)
    text = _NAMED.sub(rf"\1{OUT}", text)
    text = _JOIN_TOKEN.sub(OUT, text)
    return _BLOB.sub(OUT, text)
