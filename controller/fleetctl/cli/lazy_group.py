"""Groups of commands whose modules are loaded when a command of theirs is run."""

from __future__ import annotations

import importlib
import keyword
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from fleetctl.cli.empty_texts import refuse_empty_texts
from fleetctl.cli.help_page import OrderedGroup, finish_page, sections
from fleetctl.cli.suggestions import meant, suggestion

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


def refuse_unknown(group: click.Group, ctx: click.Context, args: list[str]) -> None:
    """Raises UsageError unless the first argument is a command of the group, or an option."""
    if ctx.resilient_parsing or args[0].startswith("-") or group.get_command(ctx, args[0]):
        return
    close = suggestion(meant(args[0], group.list_commands(ctx)))
    raise click.UsageError(f"No such command {args[0][:80]!r}.{close}", ctx)


class LazyGroup(click.Group):
    """A group that knows of each command its name, its module, and one line for --help.

    The module has the command under its name, with _ behind it where Python has the word.
    `completing` gets each command that a shell completes, and the group itself. `headings` has
    the commands under each of them, in the order of --help.
    """

    def __init__(
        self,
        *args: Any,
        lazy: Mapping[str, tuple[str, str]],
        headings: Mapping[str, tuple[str, ...]] | None = None,
        completing: Callable[[click.Command], None] = lambda command: None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.lazy = lazy
        self.headings = headings or {}
        self._completing = completing

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if ctx.resilient_parsing:
            self._completing(self)
        elif args and args[0] == "help":  # as other programs have it
            args = [*args[1:], "--help"]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self.lazy, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.lazy:
            return super().get_command(ctx, cmd_name)
        module, _ = self.lazy[cmd_name]
        attribute = f"{cmd_name}_" if keyword.iskeyword(cmd_name) else cmd_name
        command: click.Command = getattr(importlib.import_module(module), attribute)
        finish_page(command, cmd_name)
        refuse_empty_texts(command)
        if ctx.resilient_parsing:
            self._completing(command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Raises UsageError for a command that is not there, with those that may be meant."""
        refuse_unknown(self, ctx, args)
        return super().resolve_command(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Commands first: they are what is looked for."""
        self.format_commands(ctx, formatter)
        click.Command.format_options(self, ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in --help, without loading what it lists."""
        longest = max(map(len, self.lazy))
        for heading, names in sections(self.lazy, self.headings):
            with formatter.section(heading):
                rows = [(name.ljust(longest), self.lazy[name][1]) for name in names]
                formatter.write_dl(rows)


class ListingGroup(OrderedGroup):
    """A group whose `list` command may be left unsaid: `vms --state failed`."""

    default = "list"

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Raises UsageError for a command that is not there, with those that may be meant."""
        refuse_unknown(self, ctx, args)
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if ctx.resilient_parsing and not args:  # a shell asks what may follow: any command
            return super().parse_args(ctx, args)
        first = args[0] if args else "-"
        if first.startswith("-") and first not in ctx.help_option_names:
            args = [self.default, *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Its commands; of options those of the default one too, which may follow at once."""
        found = super().shell_complete(ctx, incomplete)
        default = self.get_command(ctx, self.default)
        if not incomplete.startswith("-") or default is None:
            return found
        with click.Context(default, ctx, self.default, resilient_parsing=True) as inner:
            known = {one.value for one in found}
            of_default = default.shell_complete(inner, incomplete)
            return [*found, *(one for one in of_default if one.value not in known)]


class ShowingGroup(ListingGroup):
    """The same with its `show` command."""

    default = "show"
