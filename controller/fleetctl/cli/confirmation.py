"""What destroys something is asked about first."""

from __future__ import annotations

import sys

import click

from fleetctl.outcome import Failed, Misuse


def confirm(command: str, question: str, otherwise: str) -> None:
    """Return when whoever is at the terminal agrees. Raises Misuse without one, and Failed with
    `otherwise` for a no."""
    must_ask(command)
    if not agreed(question):
        raise Failed(otherwise)


def agreed(question: str) -> bool:
    """What is answered at the terminal. Raises Abort for Ctrl-C."""
    try:
        return click.confirm(question, err=True)
    except click.Abort:
        click.echo(err=True)  # the cursor is still behind the question
        raise


def must_ask(command: str) -> None:
    """Raises Misuse where nobody can be asked: before anything is looked up for the question."""
    if not sys.stdin.isatty():
        raise Misuse(f"{command} asks first, and there is no terminal to ask at: give --yes")


yes_option = click.option("--yes", is_flag=True, help="Do not ask.")
plan_option = click.option(
    "--plan", "plan_only", is_flag=True, help="Show what it would do, and do nothing."
)
