"""Writes the manual pages of fleetctl and of each command of it from the code: troff, for `man`.

python -m fleetctl.manual FOLDER
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib.metadata import version
from inspect import cleandoc
from pathlib import Path

import click

from fleetctl.cli.examples import examples_text
from fleetctl.cli.help_page import CommonOption, sections
from fleetctl.main import HEADINGS, cli
from fleetctl.outcome import __doc__ as exit_codes

PROGRAM = "fleetctl"
_ENVIRONMENT = (
    ("MEGAFLEET_CONTEXT", "The context to use, as --context."),
    ("MEGAFLEET_ENDPOINTS", "Controllers, as --endpoint; with commas between them."),
    ("MEGAFLEET_IDENTITY", "The folder of ca.pem, cert.pem and key.pem, as --identity."),
    ("MEGAFLEET_CONFIG", "The contexts file; else ~/.config/megafleet/config.toml."),
    ("NO_COLOR", "Where it is set, nothing is coloured; see --color."),
)


def pages() -> Iterator[tuple[str, str]]:
    """The file name and the text of each page, of all commands that are not hidden."""
    with click.Context(cli, info_name=PROGRAM) as context:
        yield from _pages(cli, context)


def _pages(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    yield f"{context.command_path.replace(' ', '-')}.1", "\n".join(_page(command, context)) + "\n"
    for name, below in _below(command, context):
        with click.Context(below, parent=context, info_name=name) as inner:
            yield from _pages(below, inner)


def _page(command: click.Command, context: click.Context) -> Iterator[str]:
    path = context.command_path
    title = path.replace(" ", "-")
    yield f'.TH "{_text(title.upper())}" 1 "" "Megafleet {version("megafleet")}" "Megafleet"'
    yield f".SH NAME\n{_text(title)} \\- {_text(_line(command))}"
    words = [f"\\fB{_text(path)}\\fR", *map(_text, command.collect_usage_pieces(context))]
    yield f".SH SYNOPSIS\n{' '.join(words)}"
    yield f".SH DESCRIPTION\n{_paragraphs(cleandoc(command.help or ''))}"
    yield from _commands(command, context)
    yield from _options(command, context)
    yield from _examples(path)
    yield from _ending(context)


def _below(command: click.Command, context: click.Context) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            if found is not None and not found.hidden:
                yield name, found


def _commands(command: click.Command, context: click.Context) -> Iterator[str]:
    """Under their headings, which fleetctl itself has."""
    known = dict(_below(command, context))
    headings = HEADINGS if command is cli else {"Commands": tuple(known)}
    for heading, names in sections(known, headings):
        yield f".SH {_text(heading.upper())}"
        for name in names:
            page = f"{context.command_path} {name}".replace(" ", "-")
            yield f".TP\n.BR {_text(page)} (1)\n{_text(_line(known[name]))}"


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    own = [one for one in command.params if isinstance(one, click.Option)]
    told = [one for one in own if context.parent is None or not isinstance(one, CommonOption)]
    rows = [record for one in told if (record := one.get_help_record(context))]
    if rows:
        yield ".SH OPTIONS"
        yield from (f".TP\n\\fB{_text(names)}\\fR\n{_text(says)}" for names, says in rows)
    if len(told) < len(own):
        common = ", ".join(one.opts[0] for one in own if one not in told)
        yield f".PP\nAs in \\fBfleetctl\\fR(1): {_text(common)}."


def _examples(path: str) -> Iterator[str]:
    if text := examples_text(path.partition(" ")[2]):
        yield f".SH EXAMPLES\n.nf\n{_text(text)}\n.fi"


def _ending(context: click.Context) -> Iterator[str]:
    if context.parent is not None:
        above = context.parent.command_path.replace(" ", "-")
        yield f".SH SEE ALSO\n.BR {_text(above)} (1)"
        return
    yield ".SH EXIT STATUS"
    rows = re.findall(r"^\| ([0-9]+) \| (.*) \|$", exit_codes or "", re.MULTILINE)
    yield from (f".TP\n\\fB{code}\\fR\n{_text(meaning)}" for code, meaning in rows)
    yield ".SH ENVIRONMENT"
    yield from (f".TP\n.B {_text(name)}\n{_text(says)}" for name, says in _ENVIRONMENT)


def _line(command: click.Command) -> str:
    return command.get_short_help_str(limit=300).removesuffix(".")


def _paragraphs(text: str) -> str:
    """\\b of click's stands before lines that stay as they are."""
    parts = []
    for part in text.split("\n\n"):
        as_it_is = part.startswith("\b\n")
        shown = _text(part.removeprefix("\b\n"))
        parts.append(f".nf\n{shown}\n.fi" if as_it_is else shown)
    return "\n.PP\n".join(parts)


def _text(text: str) -> str:
    """So that troff takes nothing in it for an order of its own."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "\\(ga")
    escaped = escaped.replace("'", "\\(aq").replace('"', "\\(dq").replace("^", "\\(ha")
    return re.sub(r"^\.", r"\\&.", escaped, flags=re.MULTILINE)


def main(folder: Path) -> None:
    """Writes all pages into a folder, which is made where it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages():
        (folder / name).write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
