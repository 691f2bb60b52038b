"""A network namespace for each part, on one of two bridges: those apart hear nothing of the others.

Moving a part's wire from one bridge to the other loses packets silently, as a cut cable does;
nothing is refused or reset. Whoever runs the ordeal is on the first bridge. Takes root and `ip`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

_PREFIX = "mf"
_NET = "10.213"  # private, and in nobody's way: a network that is routed already is passed over


def available() -> bool:
    """Whether namespaces can be made here."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    probe = f"{_PREFIX}{os.getpid()}-probe"
    try:
        _ip("netns", "add", probe)
        _ip("netns", "del", probe)
    except subprocess.CalledProcessError:
        return False
    return True


class Namespaces:
    """Used as a context; all is gone afterwards, also what a killed predecessor has left."""

    def __init__(self) -> None:
        self._tag = f"{_PREFIX}{os.getpid()}"
        self._bridges = (f"{self._tag}a", f"{self._tag}b")
        self._wires: dict[str, str] = {}  # by part, the end that is on a bridge
        self._addresses: dict[str, str] = {}
        self._apart: set[str] = set()
        self._net = ""

    def __enter__(self) -> Namespaces:
        _sweep()
        self._net = _free_network()
        for bridge in self._bridges:
            _ip("link", "add", bridge, "type", "bridge")
            _ip("link", "set", bridge, "up")
        _ip("addr", "add", f"{self._net}.1/24", "dev", self._bridges[0])
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _remove(self._tag)

    def place(self, part: str) -> tuple[str, tuple[str, ...]]:
        """See replicated_cluster.Wiring."""
        name = f"{self._tag}-{part}"
        number = len(self._wires) + 2
        address, wire, inner = f"{self._net}.{number}", f"{self._tag}.{number}", "eth0"
        _ip("netns", "add", name)
        _ip("link", "add", wire, "type", "veth", "peer", "name", inner, "netns", name)
        _ip("link", "set", wire, "master", self._bridges[0])
        _ip("link", "set", wire, "up")
        for command in (
            ("addr", "add", f"{address}/24", "dev", inner),
            ("link", "set", inner, "up"),
            ("link", "set", "lo", "up"),
        ):
            _ip("-n", name, *command)
        self._wires[part] = wire
        self._addresses[part] = address
        return address, ("ip", "netns", "exec", name)

    def cut(self, parts: Iterable[str]) -> None:
        """Of these and the others neither hears anything of the other."""
        for part in parts:
            self._apart.add(part)
            _ip("link", "set", self._wires[part], "master", self._bridges[1])

    def hide(self, part: str, other: str) -> None:
        """Nothing that the one sends gets to the other; all else goes on."""
        name = f"{self._tag}-{part}"
        _ip("-n", name, "route", "add", "blackhole", f"{self._addresses[other]}/32")

    def mend(self) -> None:
        for part in self._apart:
            _ip("link", "set", self._wires[part], "master", self._bridges[0])
        self._apart.clear()


def _free_network() -> str:
    routed = _ip("-4", "route", "show", "table", "all")
    for last in range(1, 255):
        network = f"{_NET}.{(os.getpid() + last) % 255}"
        if f"{network}." not in routed:
            return network
    raise RuntimeError(f"every network in {_NET}.0.0/16 is in use")


def _sweep() -> None:
    """Remove what was left by processes that are no more."""
    named = _ip("netns", "list") + _ip("link", "show")
    for pid in set(re.findall(rf"\b{_PREFIX}(\d+)[-.ab]", named)):
        if not Path(f"/proc/{pid}").exists():
            _remove(f"{_PREFIX}{pid}")


def _remove(tag: str) -> None:
    for line in _ip("netns", "list").splitlines():
        if line.startswith(f"{tag}-"):
            _ip("netns", "del", line.split()[0])
    for bridge in (f"{tag}a", f"{tag}b"):
        if Path(f"/sys/class/net/{bridge}").exists():
            _ip("link", "del", bridge)


def _ip(*arguments: str) -> str:
    return subprocess.run(
        ("ip", *arguments), check=True, capture_output=True, text=True, timeout=20
    ).stdout
