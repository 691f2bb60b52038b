"""fleetctl contexts: the clusters one works with, and which is meant."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from fleetctl.cli.lazy_group import ListingGroup
from fleetctl.outcome import Misuse
from fleetctl.output import GOOD, say, say_json
from fleetctl.session import Session, list_options, output_option, pass_session
from megafleet.contexts import (
    ClusterContext,
    checked_endpoint,
    checked_name,
    config_file,
    editing,
    load,
)


@click.group(cls=ListingGroup)
def contexts() -> None:
    """Say which cluster is meant when nothing else names one. Without a command: list."""


@contexts.command("list")
@list_options
@pass_session
def list_contexts(session: Session) -> None:
    """List the contexts; * marks the current one."""
    held = load(config_file(os.environ))
    from fleetctl.tables.answer import ListAnswer
    from fleetctl.tables.column import Column, Kind
    from fleetctl.tables.listing import say_list

    shown = [_json(name, one, held.current) for name, one in held.named.items()]
    columns: tuple[Column[dict[str, Any]], ...] = (
        Column(
            "CONTEXT", lambda one: one["name"], Kind.NAME,
            colour=lambda one: GOOD if one["current"] else None,
        ),
        Column("CURRENT", lambda one: "*" if one["current"] else "", Kind.NAME),
        Column("ENDPOINTS", lambda one: ", ".join(one["endpoints"]), rank=1),
        Column("CERTIFICATE", lambda one: one["certificate"], Kind.NAME, 20, True),
    )  # fmt: skip
    answer = ListAnswer(
        columns,
        shown,
        lambda: {"file": str(held.file), "current": held.current or None, "contexts": shown},
        f"No contexts in {held.file}.",
    )
    say_list(answer, session.listing)


@contexts.command("show")
@click.argument("name", required=False)
@output_option
@pass_session
def show_context(session: Session, name: str | None) -> None:
    """Show one context; without a name, the current one."""
    held = load(config_file(os.environ))
    wanted = name or held.current
    if wanted not in held.named:
        raise Misuse(_missing(wanted, list(held.named)))
    shown = _json(wanted, held.named[wanted], held.current)
    if session.json:
        say_json(shown)
    else:
        shown["endpoints"] = ", ".join(shown["endpoints"])
        shown["current"] = "yes" if shown["current"] else "no"
        say("\n".join(f"{key:<13}{value}" for key, value in shown.items()))


@contexts.command("use")
@click.argument("name")
@output_option
@pass_session
def use_context(session: Session, name: str) -> None:
    """Make a context the current one."""
    with editing(config_file(os.environ)) as held:
        if name not in held.named:
            raise Misuse(_missing(name, list(held.named)))
        held.current = name
        shown = _json(name, held.named[name], name)
    if session.json:
        say_json(shown)
    else:
        say(f"current context: {name}")


@contexts.command("add")
@click.argument("name")
@click.option(
    "--endpoint",
    "endpoints",
    metavar="HOST:PORT",
    multiple=True,
    required=True,
    help="A controller; may be given several times.",
)
@click.option(
    "--identity",
    metavar="FOLDER",
    required=True,
    help="The folder of ca.pem, cert.pem and key.pem.",
)
@click.option("--use", is_flag=True, help="Make it the current one.")
@output_option
@pass_session
def add_context(
    session: Session, name: str, endpoints: tuple[str, ...], identity: str, use: bool
) -> None:
    """Add a context, or change the one of that name. The first one becomes current."""  # fmt: skip
    checked_name(name)
    folder = Path(identity).absolute()
    one = ClusterContext.with_identity([checked_endpoint(at) for at in endpoints], folder)
    for file in (one.ca, one.certificate, one.key):
        if not file.is_file():
            raise Misuse(f"{file} is not there; 'fleetctl certs user' makes an identity")
    with editing(config_file(os.environ)) as held:
        word = "changed" if name in held.named else "added"
        held.named[name] = one
        if use or not held.current:
            held.current = name
        shown = _json(name, one, held.current)
    if session.json:
        say_json(shown)
    else:
        say(f"context {name} {word}{', and current' if shown['current'] else ''}")


def _missing(name: str, known: list[str]) -> str:
    if not name:
        return "no context is current; see 'fleetctl contexts list'"
    return f"no context {name[:80]!r}; there are: {', '.join(known) or 'none'}"


def _json(name: str, one: ClusterContext, current: str) -> dict[str, Any]:
    return {
        "name": name,
        "current": name == current,
        "endpoints": list(one.endpoints),
        "ca": str(one.ca),
        "certificate": str(one.certificate),
        "key": str(one.key),
    }
