"""The process `fleetctl`: finds the command, runs it, and ends with its exit code."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import click

from fleetctl.cli import startup
from fleetctl.cli.empty_texts import refuse_empty_texts
from fleetctl.cli.help_page import finish_page
from fleetctl.cli.lazy_group import LazyGroup
from fleetctl.cli.suggestions import meant, suggestion
from fleetctl.outcome import ExitCode, Trouble, exit_code, printable
from fleetctl.output import ReaderGone
from fleetctl.session import Session, all_formats_option, connection_options

# By name: the module that has it under this name, and its line in --help.
COMMANDS = {
    "apply": ("fleetctl.commands.fleets.apply", "Make fleets from files, or change them."),
    "import": (
        "fleetctl.commands.fleets.import_definition",
        "Print a fleet file for an existing guest.",
    ),
    "scale": ("fleetctl.commands.fleets.scale", "Say how many VMs a fleet has."),
    "plan": ("fleetctl.commands.fleets.plan", "Show what a scale would do."),
    "status": ("fleetctl.commands.cluster.status", "Show how fleets stand."),
    "watch": ("fleetctl.commands.screens.watch", "Follow how fleets stand, live."),
    "ui": ("fleetctl.commands.screens.ui", "See and act on all of it, on one screen."),
    "wall": ("fleetctl.commands.screens.wall", "Show every VM as a pixel, live, in a browser."),
    "wait": ("fleetctl.commands.cluster.wait", "Wait for a fleet or a host to be as it should."),
    "fleets": (
        "fleetctl.commands.fleets.fleets",
        "List fleets, print one's file, say whose it is.",
    ),
    "hosts": ("fleetctl.commands.hosts.hosts", "List hosts, show one, say what becomes of it."),
    "tokens": ("fleetctl.commands.hosts.tokens", "Tokens by which machines join as hosts."),
    "breaker": ("fleetctl.commands.hosts.breaker", "Show whether lost hosts are replaced."),
    "doctor": ("fleetctl.commands.hosts.doctor", "Show which limits of a host are in the way."),
    "tune": ("fleetctl.commands.hosts.tune", "Lift the limits of a host."),
    "vms": ("fleetctl.commands.vms.vms", "List VMs, control them, run in them, copy files."),
    "rollout": ("fleetctl.commands.fleets.rollout", "Bring a new template to VMs that run."),
    "rebalance": (
        "fleetctl.commands.fleets.rebalance",
        "Move VMs that stand where they should not.",
    ),
    "top": ("fleetctl.commands.vms.top", "Show what VMs use."),
    "console": ("fleetctl.commands.vms.console", "Read and type at a VM's console."),
    "images": (
        "fleetctl.commands.hosts.images",
        "Push, spread and list golden images.",
    ),
    "events": ("fleetctl.commands.cluster.events", "Show what happened."),
    "history": ("fleetctl.commands.cluster.history", "Show who changed what."),
    "delete": ("fleetctl.commands.fleets.delete", "Delete a fleet and all its VMs."),
    "backup": ("fleetctl.commands.cluster.backup", "Copy the store into a file."),
    "restore": ("fleetctl.commands.local.restore", "Make a new etcd of a backup."),
    "recover": ("fleetctl.commands.cluster.recover", "Go on after the store came back older."),
    "upgrade": ("fleetctl.commands.cluster.upgrade", "Bring agents to a release, in waves."),
    "support": ("fleetctl.commands.cluster.support", "Write a bundle for whoever helps."),
    "users": ("fleetctl.commands.cluster.users", "Say who may do what; deny people."),
    "cluster": ("fleetctl.commands.founding.cluster", "Found a cluster, add controllers."),
    "sandbox": ("fleetctl.sandbox.command", "Run a whole cluster on this machine."),
    "certs": ("fleetctl.commands.local.certs", "Make certificates."),
    "contexts": ("fleetctl.commands.local.contexts", "Say which cluster is meant."),
    "version": ("fleetctl.commands.cluster.version", "Show the versions of both sides."),
    "completion": ("fleetctl.commands.local.completion", "Print a shell's completion."),
}

# In the order of --help. A command is under one of them.
HEADINGS = {
    "See how it stands": (
        "status", "ui", "watch", "wall", "top", "events", "history", "wait",
    ),
    "Fleets and their VMs": (
        "fleets", "apply", "import", "plan", "scale", "rollout", "rebalance", "delete", "vms",
        "console",
    ),
    "Hosts and their images": ("hosts", "images", "doctor", "tune", "breaker"),
    "Run the cluster": (
        "cluster", "upgrade", "tokens", "users", "certs", "backup", "restore", "recover", "support",
    ),
    "On this machine": ("sandbox", "contexts", "completion", "version"),
}  # fmt: skip


def _completing(command: click.Command) -> None:
    from fleetctl.name_completion import complete_names

    complete_names(command)


@click.group(
    cls=LazyGroup,
    lazy=COMMANDS,
    headings=HEADINGS,
    completing=_completing,
    no_args_is_help=False,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@all_formats_option
@connection_options
@click.version_option(package_name="megafleet", message="fleetctl %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Run any number of small virtual machines on a cluster of dom0 hosts.

    Exit codes: 0 done; 1 failed; 2 usage; 3 accepted but not converged within the timeout;
    4 cannot reach the controller, or not allowed; 5 done, and its output could not be written;
    6 accepted, and all that is missing has failed for good; 130 ended by Ctrl-C. `status --check`
    has codes of its own.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


finish_page(cli, "")
refuse_empty_texts(cli)


def run(arguments: Sequence[str]) -> int:
    """Runs one command line, and returns its exit code. Nothing is raised."""
    session = Session()
    try:
        code: Any = cli.main(list(arguments), "fleetctl", standalone_mode=False, obj=session)
        _note_read_only(session)
        if session.verbose:
            _note_change(session)
    except Trouble as trouble:
        failed = _failed(trouble.message, exit_code(trouble))
        _note_change(session)
        return failed
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return ExitCode.USAGE
    except click.ClickException as error:
        return _usage(error)
    except click.Abort:
        return _failed("interrupted", ExitCode.INTERRUPTED)
    except ReaderGone:
        sys.stdout = open(os.devnull, "w")
        return ExitCode.DONE
    except SystemExit as left:  # click's own, of a shell that asks for completions
        return left.code if isinstance(left.code, int) else ExitCode.FAILED
    except OSError as error:
        named = f"{error.filename}: " if error.filename else ""
        return _failed(f"{named}{error.strerror or error}", ExitCode.FAILED)
    except ModuleNotFoundError as error:
        return _failed(f"{error.name} is not installed: it is of 'megafleet[cli]'", ExitCode.FAILED)
    except Exception as error:
        if os.environ.get("MEGAFLEET_DEBUG"):
            raise
        sentence = f"internal error: {type(error).__name__}: {error}; MEGAFLEET_DEBUG=1 shows where"
        return _failed(sentence, ExitCode.FAILED)
    return code if isinstance(code, int) else ExitCode.DONE


def _note_read_only(session: Session) -> None:
    """Says on stderr when what was shown is of the past."""
    if mark := session.read_only:
        click.echo(f"fleetctl: {mark}", err=True)


def _note_change(session: Session) -> None:
    """Says on stderr how history, events and logs name what was changed, or may have been."""
    if session.change_id:
        with suppress(OSError):
            click.echo(f"fleetctl: change {session.change_id}", err=True)


def _usage(error: click.ClickException) -> int:
    """What was typed is wrong: one sentence, and where help is."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "fleetctl"
    sentence = " ".join(_message(error, context).split())
    sentence = sentence.replace("is not a valid integer range.", "is not a whole number")
    sentence = sentence.replace("is not a valid float range.", "is not a number")
    return _failed(f"{sentence} (see '{path} --help')", ExitCode.USAGE)


def _message(error: click.ClickException, context: click.Context | None) -> str:
    """click's own, but for what it believes to be meant."""
    if not isinstance(error, click.NoSuchOption):
        return error.format_message()
    params = context.command.params if context else ()
    known = [name for one in params for name in one.opts if name.startswith("--")]
    return error.message + suggestion(meant(error.option_name, known))


def _failed(message: str, code: int) -> int:
    """Says why on stderr, and returns the exit code."""
    try:
        click.echo(f"fleetctl: {printable(message)}", err=True)
    except OSError as error:
        if error.errno != errno.EPIPE:
            return code or ExitCode.FAILED
    return code


def main() -> None:
    """The console script. Never returns."""
    startup.prepare()
    startup.leave(run(sys.argv[1:]))
