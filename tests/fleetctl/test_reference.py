"""The references say what the code does."""

from __future__ import annotations

import re
import shlex
from contextlib import ExitStack
from pathlib import Path

import click
import pytest

from fleet.spec import FIELDS
from fleetctl.cli.examples import EXAMPLES
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


@pytest.mark.parametrize("typed", [one for listed in EXAMPLES.values() for one in listed])
def test_every_example_can_be_typed(
    typed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "megafleet.snapshot").touch()
    command: click.Command = cli
    arguments, name = shlex.split(typed), "fleetctl"
    with ExitStack() as contexts:
        while True:
            context = contexts.enter_context(command.make_context(name, list(arguments)))
            if not isinstance(command, click.Group):
                return
            rest = [*context._protected_args, *context.args]
            found, below, arguments = command.resolve_command(context, rest)
            assert found and below
            name, command = found, below


def test_every_command_has_examples_on_its_page() -> None:
    assert set(COMMANDS) <= set(EXAMPLES)
    assert all(2 <= len(one) <= 3 for one in EXAMPLES.values())
    with click.Context(cli) as context:
        command = cli.get_command(context, "vms")
        assert command is not None
        page = command.get_help(click.Context(command, context, "vms"))
    assert "\n  Examples:\n    fleetctl vms --state failed\n    fleetctl vms show spv-250\n" in page
