"""What all pages of help have in common: examples, common options in one line, plain words for
kinds of values, and commands in a considered order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import click

from fleetctl.cli.examples import examples_text

REST = "More"


class CommonOption(click.Option):
    """One that nearly all commands take: told in full by fleetctl's own page alone."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        return None if ctx.parent else super().get_help_record(ctx)


class OrderedGroup(click.Group):
    """A group whose commands are listed as they were added, `list` and `show` first, each with
    the whole of its first sentence."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        first = [name for name in ("list", "show") if name in self.commands]
        return first + [name for name in self.commands if name not in first]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        commands = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        rows = [
            (name, one.get_short_help_str(limit=formatter.width * 3))
            for name, one in commands
            if one is not None and not one.hidden
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def finish_page(command: click.Command, path: str) -> None:
    """Completes the pages of a command and of those below it. `path` is without fleetctl itself."""
    command.epilog = "\n\n".join(_epilog(command, path)) or None
    for one in command.params:
        if isinstance(one, click.Option) and not one.metavar:
            one.metavar = _metavar(one)
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            finish_page(below, f"{path} {name}".strip())


def sections(
    commands: Iterable[str], named: Mapping[str, tuple[str, ...]]
) -> Iterator[tuple[str, list[str]]]:
    """The commands under their headings; those that are under none come last."""
    there = list(commands)
    for heading, names in named.items():
        if found := [name for name in names if name in there]:
            yield heading, found
    listed = {name for names in named.values() for name in names}
    if rest := [name for name in there if name not in listed]:
        yield REST, rest


def common_options(command: click.Command) -> list[str]:
    """Its common options, each under its shortest name."""
    return [one.opts[0] for one in command.params if isinstance(one, CommonOption)]


def _epilog(command: click.Command, path: str) -> Iterator[str]:
    if path and (common := common_options(command)):
        yield f"\b\nCommon options, as 'fleetctl --help' tells:\n  {', '.join(common)}"
    if text := examples_text(path):
        yield "\b\nExamples:\n" + "\n".join(f"  {one}" for one in text.split("\n"))


def _metavar(option: click.Option) -> str | None:
    """None: click's own will do, which lists choices."""
    kind: Any = option.type
    if option.is_flag or isinstance(kind, click.Choice):
        return None
    if isinstance(kind, click.IntRange | click.FloatRange):
        return "NUMBER"
    if isinstance(kind, click.types.StringParamType) and option.name:
        return option.name.upper()
    return None
