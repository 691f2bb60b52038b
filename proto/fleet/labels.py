"""What labels of hosts may be called and hold: one rule for agents, controllers and fleet files.

It is Kubernetes' (https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/): a key
is a name, with a DNS subdomain and a slash before it or without; a value is like a name, or empty.
"""

from __future__ import annotations

import re

# Kubernetes has 253; a key with its name fits the 255 characters that a host's texts may have.
MAX_PREFIX = 191
_PART = r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_DNS_LABEL = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_SUBDOMAIN = rf"{_DNS_LABEL}(?:\.{_DNS_LABEL})*"

LABEL_KEY = re.compile(rf"(?:(?=[^/]{{1,{MAX_PREFIX}}}/){_SUBDOMAIN}/)?{_PART}")
LABEL_VALUE = re.compile(rf"(?:{_PART})?")

PART_WORDS = "at most 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends"
KEY_WORDS = f"{PART_WORDS}; before it may stand a DNS name and '/'"


def label_problem(key: str, value: str) -> str | None:
    """What is wrong with a label, in words; None when it may be used."""
    if not LABEL_KEY.fullmatch(key):
        return f"label {_shown(key)}: a key is {KEY_WORDS}"
    if not LABEL_VALUE.fullmatch(value):
        return f"label {_shown(key)}: a value is {PART_WORDS}, or empty; got {_shown(value)}"
    return None


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 60 else text[:60] + "...")
