"""An empty text on the command line never means all: no command takes one but where it says so."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest

from fleetctl.main import cli, run
from fleetctl.outcome import ExitCode

# A word of a command that is run in VMs, and the beginning of a list.
MAY_BE_EMPTY = {("vms run", "command"), ("vms list", "cursor"), ("hosts list", "cursor")}
WHY = "it is empty, as where a variable of the shell is not set"


def parameters(
    command: click.Command = cli, context: click.Context | None = None
) -> Iterator[tuple[str, click.Context, click.Parameter]]:
    """Of all commands those that take a value, with the words of the command."""
    context = context or click.Context(cli, info_name="fleetctl")
    for one in command.params:
        if not (isinstance(one, click.Option) and one.is_flag):
            yield context.command_path.partition(" ")[2], context, one
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from parameters(below, click.Context(below, context, info_name=name))


def takes_empty(context: click.Context, parameter: click.Parameter) -> bool:
    several = parameter.multiple or parameter.nargs != 1
    given = {parameter.name: [""] if several else ""}
    try:
        parameter.handle_parse_result(context, given, [])
    except click.BadParameter:
        return False
    return True


def test_no_command_takes_an_empty_text_but_where_it_is_one() -> None:
    looked = list(parameters())
    found = {(words, one.name) for words, context, one in looked if takes_empty(context, one)}
    assert found == MAY_BE_EMPTY
    assert len(looked) > 500


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        (["vms", "run", "web", "--host", "", "--", "reboot"], "--host"),
        (["vms", "run", "web", "--host=", "--", "reboot"], "--host"),
        (["vms", "run", "web", "--selector", "", "--", "reboot"], "--selector"),
        (["vms", "run", "", "--", "reboot"], "FLEET"),
        (["vms", "copy", "--host", "", "f", "web:/f"], "--host"),
        (["vms", "copy", "--selector", "", "f", "web:/f"], "--selector"),
        (["vms", "stop", "", "--all", "--yes"], "[FLEET]"),
        (["vms", "stop", "--host", "", "--yes"], "--host"),
        (["vms", "--host", ""], "--host"),
        (["scale", "--total", "0", "--token", ""], "--token"),
        (["delete", "", "--yes"], "FLEET"),
        (["doctor", ""], "[HOST]..."),
        (["tune", "h1", "", "--apply"], "[HOST]..."),
        (["images", "push", "golden@1", "disk.raw", "--host", ""], "--host"),
        (["images", "delete", "golden@1", "--host", ""], "--host"),
        (["upgrade", "--to", "2", "--host", ""], "--host"),
        (["--context", "", "status"], "--context"),
        (["status", "--endpoint", ""], "--endpoint"),
        (["top", ""], "[HOST|FLEET]"),
        (["events", "--host", ""], "--host"),
    ],
    ids=" ".join,
)
def test_it_is_refused_with_one_sentence(
    typed: list[str], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(typed) == ExitCode.USAGE
    said = capsys.readouterr()
    assert said.err.startswith(f"fleetctl: Invalid value for '{name}': {WHY} (see 'fleetctl ")
    assert not said.out and said.err.count("\n") == 1


def test_what_is_left_out_stays_as_it_is() -> None:
    given = {}
    for words, context, one in parameters():
        if (words, one.name) in {("vms list", "host"), ("vms list", "selector"), ("top", "fleet")}:
            one.handle_parse_result(context, {}, [])
            given[words, one.name] = context.params[one.name or ""]
    assert given == {("vms list", "host"): "", ("vms list", "selector"): (), ("top", "fleet"): ""}
