"""The fleetctl context of a sandbox: written and selected by up, withdrawn by down."""

from __future__ import annotations

import os
from collections.abc import Mapping

from fleetctl.sandbox.state.folder import Folder
from fleetctl.sandbox.state.identities import Identities
from fleetctl.sandbox.state.record import Record
from megafleet.contexts import ClusterContext, config_file, editing, load

DEFAULT_NAME = "sandbox"


def context_name(sandbox: str) -> str:
    """A sandbox of the default name has the context `sandbox`; others, that of their name."""
    return sandbox


def context_of(record: Record, folder: Folder) -> ClusterContext:
    """Its controllers, as its operator."""
    operator = Identities(folder.certificates).operator
    return ClusterContext.with_identity(record.endpoints, operator)


def current_context(environment: Mapping[str, str] = os.environ) -> str:
    """The name of the context in use, empty if there is none."""
    return load(config_file(environment)).current


def select(record: Record, folder: Folder, environment: Mapping[str, str] = os.environ) -> None:
    """Writes the sandbox's context and makes it the current one. Raises Trouble."""
    with editing(config_file(environment)) as contexts:
        contexts.named[context_name(record.name)] = context_of(record, folder)
        contexts.current = context_name(record.name)


def withdraw(record: Record, folder: Folder, environment: Mapping[str, str] = os.environ) -> None:
    """Removes the sandbox's context, if it is still its own; what was current before it is so
    again. Raises Trouble."""
    name = context_name(record.name)
    file = config_file(environment)
    if load(file).named.get(name) != context_of(record, folder):
        return
    with editing(file) as contexts:
        del contexts.named[name]
        if contexts.current == name:
            before = record.previous_context
            contexts.current = before if before in contexts.named else ""
