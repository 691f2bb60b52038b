"""The references say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from fleet.spec import FIELDS
from fleetctl.main import COMMANDS, cli
from fleetctl.reference import PAGES, fleetctl

FOLDER = Path(__file__).parents[2] / "docs" / "reference"


@pytest.mark.parametrize("page", sorted(PAGES))
def test_the_generated_references_are_current(page: str) -> None:
    assert (FOLDER / page).read_text() == PAGES[page](), (
        "run: python -m fleetctl.reference docs/reference"
    )


def test_every_field_is_in_the_reference() -> None:
    text = (FOLDER / "fleet-file.md").read_text()
    for one in FIELDS:
        assert f"| `{one.path.rpartition('.')[2]}` |" in text


def test_every_command_is_listed_with_a_line_and_has_help() -> None:
    with click.Context(cli) as context:
        for name, (_, line) in COMMANDS.items():
            command = cli.get_command(context, name)
            assert command is not None and command.name == name
            assert command.help and line.endswith(".") and len(line) <= 50
    assert re.findall(r"^## fleetctl (\w+)$", fleetctl(), re.MULTILINE) == list(COMMANDS)
