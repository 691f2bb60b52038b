"""An empty text on a command line, as "$HOST" is where a shell has no such variable.

Most options that are left out mean all, the only one, or whatever is there. An empty text would
mean the same, and what was to be done to one host would be done to all of them. So it is refused,
by each parameter that does not say that one may be meant.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class _TextThatMayBeEmpty(click.types.StringParamType):
    pass


# For a parameter of which an empty text means no more and no less than it says.
MAY_BE_EMPTY = _TextThatMayBeEmpty()


class _NotEmpty(click.ParamType[Any]):
    """Another kind of value, which is not given as an empty text. Defaults may be one."""

    def __init__(self, kind: click.ParamType[Any]) -> None:
        self._kind = kind
        self.name = kind.name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "" and param is not None and ctx is not None and _is_typed(param, ctx):
            raise click.BadParameter(
                "it is empty, as where a variable of the shell is not set", ctx, param
            )
        return self._kind.convert(value, param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        return self._kind.get_metavar(param, ctx)

    def split_envvar_value(self, rv: str) -> Sequence[str]:
        return self._kind.split_envvar_value(rv)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return self._kind.shell_complete(ctx, param, incomplete)


def refuse_empty_texts(command: click.Command) -> None:
    """By all parameters of a command, and of those below it."""
    for one in command.params:
        if not isinstance(one.type, _NotEmpty | _TextThatMayBeEmpty) and _takes_text(one):
            one.type = _NotEmpty(one.type)
    if isinstance(command, click.Group):
        for below in command.commands.values():
            refuse_empty_texts(below)


def _takes_text(parameter: click.Parameter) -> bool:
    """Choices and numbers know no empty text; flags take none."""
    texts = (click.types.StringParamType, click.types.FuncParamType, click.Path)
    flag = isinstance(parameter, click.Option) and parameter.is_flag
    return not flag and isinstance(parameter.type, texts)


def _is_typed(parameter: click.Parameter, context: click.Context) -> bool:
    source = context.get_parameter_source(parameter.name or "")
    return source is ParameterSource.COMMANDLINE
