"""Every page of help fits a terminal of 80 columns, and shows examples."""

from __future__ import annotations

from collections.abc import Iterator

import click
from click.testing import CliRunner

from fleetctl.main import cli

COLUMNS = 80


def pages(command: click.Command = cli, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from pages(below, (*path, name))


def test_each_page_of_help_fits_a_terminal_and_has_examples() -> None:
    for path in pages():
        page = CliRunner().invoke(cli, [*path, "--help"], terminal_width=COLUMNS).output
        assert "Example" in page, path
        wide = [line for line in page.splitlines() if len(line) > COLUMNS]
        assert not wide, (path, wide)
