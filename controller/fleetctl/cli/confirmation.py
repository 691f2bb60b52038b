"""The question before something is destroyed, and the options that go with it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from fleetctl.outcome import Failed, Misuse

F = TypeVar("F", bound=Callable[..., Any])


def confirm(command: str, question: str, otherwise: str) -> None:
    """Returns when the operator agrees. Raises Misuse where there is no terminal, and Failed with
    `otherwise` for a no."""
    must_ask(command)
    if not agreed(question):
        raise Failed(otherwise)


def agreed(question: str) -> bool:
    """The operator's answer at the terminal. Raises Abort for Ctrl-C."""
    try:
        return click.confirm(question, err=True)
    except click.Abort:
        click.echo(err=True)  # the cursor is still behind the question
        raise


def must_ask(command: str) -> None:
    """Raises Misuse where there is no terminal. To be called before anything is fetched for the
    question."""
    if not sys.stdin.isatty():
        raise Misuse(f"{command} asks first, and there is no terminal to ask at: give --yes")


yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


def plan_option_with(sentence: str) -> Callable[[F], F]:
    """--plan, with its own line in the help."""
    return click.option("--plan", "plan_only", is_flag=True, help=sentence)


plan_option = plan_option_with("Show what it would do, and do nothing.")
