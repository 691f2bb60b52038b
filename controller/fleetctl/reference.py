"""Writes the references of the fleet file and of fleetctl from the code that reads them.

python -m fleetctl.reference docs/reference
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from inspect import cleandoc
from pathlib import Path

import click

from fleet.template.field import Field, Kind, allowed
from fleet.template.fields import FIELDS, LISTS, OPTIONAL_SECTIONS
from fleet.template.placeholders import MEANINGS
from fleetctl.cli.examples import examples_text
from fleetctl.main import cli
from fleetctl.outcome import __doc__ as exit_codes

_FLEET_FILE = """\
# The fleet file

What `fleetctl apply -f FILE` reads: YAML mappings of the fields below, at most 256 KiB, a fleet
each, with `---` between two. It is read strictly: an unknown or repeated field, a wrong unit or a
value out of range is refused with its line and with what is allowed; anchors, aliases and tags are
not allowed. Samples are in `deploy/samples/`; `fleetctl fleets show` prints the file of a fleet.

Sizes are whole numbers with `KiB`, `MiB`, `GiB` or `TiB`; durations are numbers with `ms`, `s`,
`m` or `h`. Without a `mac_base` a VM's interface n has the MAC address of its first one with 4 * n
added to the first octet: 02, 06, 0a and so on.

The command line and `identity` are texts with placeholders, which become those of each VM; for a
brace write two: `{{{{` and `}}}}`.

{placeholders}
The least that is needed, for an image that boots from its disk:

```yaml
name: web
image:
  name: debian
  snapshot: "13"
memory: 512MiB
```

What starts a VM is one of `boot.kernel`, `boot.firmware` and `boot.loader`;
[boot.md](../boot.md) says which hypervisor carries what.

Changing a file and applying it again makes a new *generation*, for VMs that are created from
then on. Running VMs are never recreated by it. `readiness`, `admission`, `placement`, `on_loss`,
`on_isolation` and `schedule` are settings of the fleet: they make no generation, and hold for all
its VMs. [changes.md](../changes.md) says more.
"""

_SECTIONS = {
    "": "Top level",
    "image": "image: what each VM's disk is cloned from",
    "boot": "boot: how a VM starts; one of kernel, firmware and loader",
    "disk": "disk: the clone as the VM sees it",
    "disks[]": "disks: a list of further disks, at most {most}",
    "network": "network: the first interface; without this section, none",
    "networks[]": "networks: a list of further interfaces, at most {most}",
    "identity": "identity: who a VM is, as cloud-init is told; without this section, nothing",
    "identity.users[]": "identity.users: a list of users, at most {most}",
    "readiness": "readiness: when a VM counts as running",
    "admission": "admission: how a host lets VMs boot",
    "placement": "placement: where VMs go",
    "on_isolation": "on_isolation: what a host does that hears no controller",
    "schedule": "schedule: totals by the time of day; left out, none",
    "schedule.points[]": "schedule.points: when there are how many VMs, at most {most}",
    "disruption": "disruption: how many VMs are down on purpose; without this section, any number",
}

_FLEETCTL = """\
# fleetctl

{codes}

Every command that calls the controller takes `-o json`, and lists take more; the
shapes are in [json.md](json.md).

Which cluster is meant, and as whom, is said by flags, else by the environment
(`MEGAFLEET_CONTEXT`, `MEGAFLEET_ENDPOINTS`, `MEGAFLEET_IDENTITY`), else by the current context of
the contexts file: `$MEGAFLEET_CONFIG`, else `$XDG_CONFIG_HOME/megafleet/config.toml`, else
`~/.config/megafleet/config.toml`. With several endpoints the next is tried when one does not
answer or does not lead.

```toml
current = "lab"

[contexts.lab]
endpoints = ["192.0.2.1:7440", "192.0.2.2:7440"]
ca = "/etc/megafleet/ca.pem"
certificate = "/etc/megafleet/cert.pem"
key = "/etc/megafleet/key.pem"
```

Colours are left out where stdout is no terminal, and with `NO_COLOR`; `--color always` and `never`
decide it.

## Lists

`vms`, `hosts`, `fleets`, `images`, `contexts`, `users`, `events` and `history` fit the width of the
terminal: columns that do not fit are shortened at the end of a word, or left out, the least
important first; where there is room, more are shown. Off a terminal nothing is cut.

| option | prints |
|---|---|
| `-o table` | the default |
| `-o wide` | all columns, whole; moments with their zone instead of ages |
| `-o json`, `-o yaml` | the document of [json.md](json.md) |
| `-o jsonpath=$.hosts[*].host` | what the expression (RFC 9535) finds in it, one a line |
| `-o name` | the first column alone, for `xargs` |
| `-o csv` | all columns: bare numbers, moments by ISO 8601, nothing for nothing |
| `--columns host,failed` | only these, in this order; an unknown name tells which there are |
| `--sort COLUMN`, `--sort -COLUMN` | what is shown, upwards or downwards: with `--all`, all |
| `--no-headers` | rows alone |
| `--watch` | again every 2 s, until Ctrl-C: of `vms`, `hosts` and `fleets` |

With `--watch` the list stays in its place on a terminal. Elsewhere come the rows that are new or
changed, and on stderr the names of those that are gone; with `-o json` the whole list on one line,
whenever it changes. Ages alone are no change. It goes on through failovers.

`top` has the same formats for the VMs of a sample, in its own order. JSON, YAML, CSV and names of a
million VMs are written while they are fetched. [screens.md](../screens.md) shows what is seen.

`make man` writes a manual page of each command into `man/`.
"""


def fleet_file() -> str:
    """The reference of the fleet file, Markdown."""
    meanings = [(f"`{{{name}}}`", what) for name, what in MEANINGS.items()]
    parts = [_FLEET_FILE.format(placeholders=_table(("placeholder", "becomes"), meanings))]
    for section, title in _SECTIONS.items():
        if listed := LISTS.get(section):
            title = title.format(most=listed.most)
        fields = [one for one in FIELDS if one.section == section]
        rows = [(_name(one), _default(one), allowed(one), one.says) for one in fields]
        parts.append(f"## {title}\n\n{_table(('field', 'default', 'allowed', 'meaning'), rows)}")
    return "\n".join(parts)


def _name(one: Field) -> str:
    return f"`{one.path.rpartition('.')[2]}`"


def _default(one: Field) -> str:
    if one.default is None:
        inner = one.section in OPTIONAL_SECTIONS or one.section in LISTS
        return "required in it" if inner else "required"
    if one.zero and one.default == "0":
        return f"`0`: {one.zero}"
    if one.default == "" or one.kind in (Kind.LABELS, Kind.VALUES):
        return "none"
    return f"`{one.default}`"


def fleetctl() -> str:
    """The reference of all commands, Markdown."""
    codes = cleandoc(exit_codes or "").partition("\n\n")[2]
    parts = [_FLEETCTL.format(codes=f"Its exit codes:\n\n{codes}")]
    with click.Context(cli, info_name="fleetctl") as top:
        shared = [one for one in cli.params if not one.expose_value]
        parts.append(f"## Options of all commands that call the controller\n\n{_options(shared)}")
        for path, command in _commands(cli, top, "fleetctl"):
            parts.append(_command(path, command, top))
    return "\n".join(parts)


def _commands(
    group: click.Group, context: click.Context, path: str
) -> Iterator[tuple[str, click.Command]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from _commands(command, context, f"{path} {name}")


def _command(path: str, command: click.Command, context: click.Context) -> str:
    own = [one for one in command.params if one.expose_value]
    arguments = [one for one in own if isinstance(one, click.Argument)]
    words = [one.make_metavar(context) for one in arguments]
    tail = ["COMMAND"] if isinstance(command, click.Group) else ["[OPTIONS]", *words]
    text = cleandoc(command.help or "").replace("\b\n", "")
    options = [one for one in own if isinstance(one, click.Option)]
    parts = [f"## {path}\n\n    {' '.join([path, *tail])}\n\n{_indent_code(text)}\n"]
    if options:
        parts.append(_options(options))
    if typed := examples_text(path.partition(" ")[2]):
        lines = "\n".join(f"    {one}" for one in typed.split("\n"))
        parts.append(f"Examples:\n\n{lines}\n")
    return "\n".join(parts)


def _indent_code(text: str) -> str:
    """Lines that name a shell's command stay lines."""
    return re.sub(r"^(\w+: +fleetctl )", r"    \1", text, flags=re.MULTILINE)


def _options(options: Iterable[click.Parameter]) -> str:
    rows = [(_spelling(one), one.help or "") for one in options if isinstance(one, click.Option)]
    return _table(("option", "meaning"), rows)


def _spelling(option: click.Option) -> str:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    if option.is_flag:
        return names
    default = option.default if isinstance(option.default, str | int | float) else None
    shown = f", default `{default:g}`" if isinstance(default, int | float) else ""
    shown = f", default `{default}`" if isinstance(default, str) and default else shown
    return f"{names} `{_metavar(option)}`{shown}"


def _metavar(option: click.Option) -> str:
    if not option.metavar and isinstance(option.type, click.IntRange | click.FloatRange):
        return "NUMBER"
    with click.Context(cli) as context:
        return option.make_metavar(context)


def _table(headers: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(headers)} |", f"|{'---|' * len(headers)}"]
    lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return "\n".join(lines) + "\n"


PAGES = {"fleet-file.md": fleet_file, "fleetctl.md": fleetctl}


def main(folder: Path) -> None:
    """Writes all pages into a folder."""
    for name, page in PAGES.items():
        (folder / name).write_text(page())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
