"""The references say what the code does."""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import click
import pytest

from fleet.template.fields import FIELDS
from fleetctl.cli.examples import EXAMPLES
from fleetctl.cli.help_page import REST, sections
from fleetctl.main import COMMANDS, HEADINGS, cli, run
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


def commands(
    command: click.Command = cli, context: click.Context | None = None
) -> Iterator[tuple[str, click.Command, click.Context]]:
    """All of them, those below others too, with their words."""
    context = context or click.Context(cli, info_name="fleetctl", terminal_width=80)
    yield context.command_path.partition(" ")[2], command, context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from commands(
                below, click.Context(below, context, info_name=name, terminal_width=80)
            )


def test_each_page_of_help_is_whole() -> None:
    for words, command, context in commands():
        page = command.get_help(context) + "\n"
        assert 2 <= len(EXAMPLES.get(words, ())) <= 3, words
        assert "\n  Examples:\n" in page
        assert all(f"\n    fleetctl {one}\n" in page for one in EXAMPLES[words])
        assert "RANGE" not in page.replace("RANGES", "")
        _, _, below = page.partition("Usage: ")[2].partition("\n")
        assert not any(line.endswith("...") for line in below.splitlines()), words


def test_the_options_of_all_commands_are_told_once_and_else_named_in_one_line() -> None:
    pages = {words: one.get_help(context) for words, one, context in commands()}
    assert "--identity FOLDER" in pages[""] and "NO_COLOR" in pages[""]
    (line,) = [line for line in pages["scale"].splitlines() if "--identity" in line]
    assert line == "    -o, --color, --context, --endpoint, --identity, --request-timeout"


@pytest.mark.parametrize("words", ["", "scale", "vms", "vms list"])
def test_help_is_also_a_word(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(["help", *words.split()])
    said = capsys.readouterr().out
    run([*words.split(), "--help"])
    assert said == capsys.readouterr().out and said.startswith(f"Usage: fleetctl {words}".strip())


def test_commands_are_told_in_groups_and_each_in_one_of_them() -> None:
    (page,) = [one.get_help(context) for words, one, context in commands() if not words]
    grouped = [name for names in HEADINGS.values() for name in names]
    assert sorted(grouped) == sorted(COMMANDS), "a new command needs a heading in fleetctl/main.py"
    assert (
        page.index("See how it stands:") < page.index("On this machine:") < page.index("Options:")
    )
    assert f"{REST}:" not in page


def test_a_command_under_no_heading_is_told_last() -> None:
    assert list(sections(("a", "b", "c"), {"One": ("b", "gone")})) == [
        ("One", ["b"]),
        (REST, ["a", "c"]),
    ]


def test_the_page_of_screens_has_each_screen_as_a_command_shows_it_today() -> None:
    """Taken anew by docs/screens.py, which takes a sandbox: what needs none is compared."""
    spec = importlib.util.spec_from_file_location("screens", FOLDER.parent / "screens.py")
    assert spec and spec.loader
    screens = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(screens)
    page = (FOLDER.parent / "screens.md").read_text()
    found = re.findall(r"^```text\n\$ fleetctl (.*)$", page, re.MULTILINE)
    assert found == [command for _, _, command in screens.SCREENS]
    shown = {words: one.get_help(context) for words, one, context in commands()}
    assert all(one.partition(" --")[0] in shown or one.split()[0] in COMMANDS for one in found[:-2])
    helps = page.replace("\n", " ").split()
    for words in ("", "scale"):
        assert set(shown[words].split()) <= set(helps), "run: python docs/screens.py"
