"""What a host was told when it joined: settings below those of its own file, and labels."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from fleet_agent.joining.identity_folder import JOINED
from fleet_agent.joining.joining import Joined

# Where things are is the host's own matter, and so is what is run there: no controller says that.
_OWN = ("identity", "ledger", "endpoints", "upgrade_command")


class _Told(msgspec.Struct):
    labels: dict[str, str] = {}
    settings: dict[str, object] = {}


def joined_settings(folder: Path) -> dict[str, object]:
    """As a tree of settings; empty where the host did not join, or what is there is no such file:
    a host runs without."""
    try:
        told = msgspec.json.decode((folder / JOINED).read_bytes(), type=_Told)
    except (OSError, msgspec.MsgspecError):
        return {}
    labels: dict[str, object] = {"labels": told.labels}
    return below(labels, _not_its_own(told.settings))


def as_kept(joined: Joined) -> bytes:
    """Raises ValueError for settings that are no TOML."""
    settings = tomllib.loads(joined.settings)
    return msgspec.json.encode(_Told(dict(joined.labels), _not_its_own(settings)))


def _not_its_own(settings: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in settings.items() if key not in _OWN}


def below(tree: Mapping[str, object], lower: Mapping[str, object]) -> dict[str, object]:
    """The tree, and what it does not say from the lower one."""
    merged = dict(tree)
    for key, value in lower.items():
        have = merged.setdefault(key, value)
        if isinstance(have, dict) and isinstance(value, dict):
            merged[key] = below(have, value)
    return merged
