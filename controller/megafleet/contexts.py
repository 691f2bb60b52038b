"""Which cluster is meant, and as whom: flags, then environment, then the contexts file.

The file is TOML, at $MEGAFLEET_CONFIG, else $XDG_CONFIG_HOME/megafleet/config.toml:

    current = "lab"

    [contexts.lab]
    endpoints = ["192.0.2.1:7400", "192.0.2.2:7400"]
    ca = "/etc/megafleet/ca.pem"
    certificate = "/etc/megafleet/cert.pem"
    key = "/etc/megafleet/key.pem"
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fleet.endpoints import BadEndpoint, dialled
from megafleet.errors import Failed, InvalidArgument, Unreachable

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class ClusterContext:
    """A cluster's controllers, and the files that say who we are to them."""

    endpoints: tuple[str, ...]
    ca: Path
    certificate: Path
    key: Path

    @classmethod
    def with_identity(cls, endpoints: Sequence[str], folder: Path) -> ClusterContext:
        """With the folder's ca.pem, cert.pem and key.pem."""
        return cls(tuple(endpoints), folder / "ca.pem", folder / "cert.pem", folder / "key.pem")


@dataclass(slots=True)
class Contexts:
    """All contexts of the file, and the current one's name; empty: none."""

    file: Path
    current: str = ""
    named: dict[str, ClusterContext] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Selection:
    """What flags or the environment name; empty where they name nothing."""

    context: str = ""
    endpoints: tuple[str, ...] = ()
    identity: str = ""


def config_file(environment: Mapping[str, str]) -> Path:
    """Where the contexts file is, whether it exists or not."""
    if named := environment.get("MEGAFLEET_CONFIG"):
        return Path(named)
    # The XDG base directory specification: a relative path is to be ignored.
    base = environment.get("XDG_CONFIG_HOME", "")
    root = Path(base) if Path(base).is_absolute() else Path.home() / ".config"
    return root / "megafleet" / "config.toml"


def load(file: Path) -> Contexts:
    """The contexts in a file; none when there is no file. Raises InvalidArgument for a broken
    one."""
    import tomllib

    try:
        with file.open("rb") as opened:
            held = tomllib.load(opened)
    except FileNotFoundError:
        return Contexts(file)
    except OSError as error:
        raise Unreachable(f"cannot read {file}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"{file} is not TOML: {error}") from error
    return _contexts(file, held)


def _contexts(file: Path, held: dict[str, Any]) -> Contexts:
    sections = held.get("contexts", {})
    current = held.get("current", "")
    if not isinstance(sections, dict) or not isinstance(current, str):
        raise InvalidArgument(f"{file}: 'current' must be a name and 'contexts' hold sections")
    named = {name: _context(file, name, section) for name, section in sections.items()}
    return Contexts(file, current, named)


def _context(file: Path, name: str, section: Any) -> ClusterContext:
    keys = ("endpoints", "ca", "certificate", "key")
    where = f"{file}: [contexts.{name}]"
    if not isinstance(section, dict) or set(section) != set(keys):
        raise InvalidArgument(f"{where} must hold exactly {', '.join(keys)}")
    endpoints = section["endpoints"]
    if not isinstance(endpoints, list) or not endpoints:
        raise InvalidArgument(f"{where}: endpoints must be a list such as ['192.0.2.1:7400']")
    files = [section[key] for key in keys[1:]]
    if not all(isinstance(one, str) for one in files):
        raise InvalidArgument(f"{where}: ca, certificate and key must be names of files")
    checked = tuple(checked_endpoint(one) for one in endpoints)
    return ClusterContext(checked, *(file.parent / Path(one).expanduser() for one in files))


@contextmanager
def editing(file: Path) -> Iterator[Contexts]:
    """The contexts, to be changed; written when the block ends well, one editor at a time.

    Raises Failed when the file cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            contexts = load(file)
            yield contexts
            fresh = file.with_suffix(".new")
            fresh.write_text(_toml(contexts))
            fresh.replace(file)
    except OSError as error:
        raise Failed(f"cannot write {file}: {error.strerror}") from error


def _toml(contexts: Contexts) -> str:
    lines = [f"current = {json.dumps(contexts.current)}"] if contexts.current else []
    for name, one in contexts.named.items():
        lines += [
            "",
            f"[contexts.{name if BARE_KEY.fullmatch(name) else json.dumps(name)}]",
            f"endpoints = {json.dumps(list(one.endpoints))}",
            f"ca = {json.dumps(str(one.ca))}",
            f"certificate = {json.dumps(str(one.certificate))}",
            f"key = {json.dumps(str(one.key))}",
        ]
    return "\n".join(lines) + "\n"


def checked_endpoint(text: Any) -> str:
    """The endpoint itself. Raises InvalidArgument for what cannot be dialled."""
    try:
        return dialled(text if isinstance(text, str) else str(text))
    except BadEndpoint as bad:
        raise InvalidArgument(str(bad)) from None


def checked_name(name: str) -> str:
    """The context's name itself. Raises InvalidArgument."""
    if not NAME.fullmatch(name):
        raise InvalidArgument(
            f"{name[:80]!r} is no name for a context: letters, digits, '.', '_' and '-'"
        )
    return name


def resolve(flags: Selection, environment: Mapping[str, str] = os.environ) -> ClusterContext:
    """The cluster that is meant: each of endpoints and identity from the first who names it.

    A context named by a flag outranks endpoints and identity of the environment. Raises
    InvalidArgument for an unknown context, Unreachable when nothing names a cluster.
    """
    selection = _with_environment(flags, environment)
    complete = selection.endpoints and selection.identity
    context = None if complete else _chosen(selection, environment)
    endpoints = selection.endpoints or (context.endpoints if context else ())
    if not endpoints:
        raise Unreachable(
            "no cluster is named: start one with 'fleetctl sandbox up', or name one with "
            "'fleetctl contexts add' or --endpoint and --identity"
        )
    for endpoint in endpoints:
        checked_endpoint(endpoint)
    if selection.identity:
        return ClusterContext.with_identity(endpoints, Path(selection.identity))
    if not context:
        raise Unreachable(
            "no certificate is named: give --identity with the folder of ca.pem, cert.pem and "
            "key.pem ('fleetctl certs user' makes one)"
        )
    return replace(context, endpoints=endpoints)


def _with_environment(flags: Selection, environment: Mapping[str, str]) -> Selection:
    if flags.context:
        return flags
    listed = environment.get("MEGAFLEET_ENDPOINTS", "").split(",")
    return Selection(
        environment.get("MEGAFLEET_CONTEXT", ""),
        flags.endpoints or tuple(one.strip() for one in listed if one.strip()),
        flags.identity or environment.get("MEGAFLEET_IDENTITY", ""),
    )


def _chosen(selection: Selection, environment: Mapping[str, str]) -> ClusterContext | None:
    contexts = load(config_file(environment))
    name = selection.context or contexts.current
    if not name:
        return None
    if name not in contexts.named:
        known = ", ".join(contexts.named) or "none"
        raise InvalidArgument(f"no context {name[:80]!r} in {contexts.file}; there are: {known}")
    return contexts.named[name]
