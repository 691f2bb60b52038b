"""fleetctl rollout: a new template, made true of VMs that run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from fleetctl.cli.arguments import fleet_argument
from fleetctl.cli.confirmation import confirm, plan_option, yes_option
from fleetctl.cli.help_page import OrderedGroup
from fleetctl.outcome import ExitCode, Failed, FailedForGood, NotConverged
from fleetctl.output import counted, say, say_json
from fleetctl.session import Session, cluster_options, pass_session

if TYPE_CHECKING:
    from fleet.v1 import cluster_pb2 as cluster

_INTERVAL_MS = 500  # between two statuses that change


def share(text: str) -> float:
    """20%, or 0.2; above 0, up to 1. Raises click.BadParameter."""
    match = re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,4})?)(%?)", str(text))
    value = float(match[1]) / (100 if match[2] else 1) if match else 0.0
    if not 0 < value <= 1:
        raise click.BadParameter(f"{str(text)[:40]!r} is no share such as 5% or 0.05")
    return value


def amount(text: str) -> tuple[int, float]:
    """A number of VMs, or a share of them: 10, 5%. Raises click.BadParameter."""
    if re.fullmatch(r"[1-9][0-9]{0,7}", str(text)):
        return int(text), 0.0
    if str(text).endswith("%"):
        return 0, share(text)
    raise click.BadParameter(f"{str(text)[:40]!r} is neither a number of VMs nor a share as 5%")


@click.group(cls=OrderedGroup)
def rollout() -> None:
    """Bring a new template to VMs that run, a few at a time."""


@rollout.command("start")
@fleet_argument
@click.option(
    "--generation",
    type=click.IntRange(1, 2**31),
    default=None,
    help="Which; else the one that was applied last.",
)
@click.option(
    "--max-unavailable", "unavailable", metavar="N|N%", type=amount, default="5%",
    show_default=True, help="VMs that may be down at once for it.",
)  # fmt: skip
@click.option(
    "--by-label", default="", help="One value of this label of hosts after another, such as rack."
)
@click.option(
    "--halt-share", metavar="SHARE", type=share, default="20%", show_default=True,
    help="It halts by itself when more of the changed VMs fail.",
)  # fmt: skip
@plan_option
@click.option("--no-wait", is_flag=True, help="Return as soon as it is accepted.")
@yes_option
@cluster_options
@pass_session
def start(
    session: Session,
    fleet: str,
    generation: int | None,
    unavailable: tuple[int, float],
    by_label: str,
    halt_share: float,
    plan_only: bool,
    no_wait: bool,
    yes: bool,
) -> int:
    """Make VMs of other generations anew from a fleet's template, where they are.

    Each begins with a fresh clone: what is on its disk is lost. Ctrl-C ends the watching, not the
    rollout: then the exit code is 3. It is 6 when it waits for nothing but VMs that
    have failed for reasons that no waiting mends.
    """  # fmt: skip
    request = _request("start", fleet)
    request.generation = generation or 0
    request.max_unavailable, request.max_unavailable_share = unavailable
    request.by_label, request.halt_share = by_label, halt_share
    return _begin(session, request, plan_only, yes, no_wait, "rollout start")


@rollout.command("undo")
@fleet_argument
@plan_option
@click.option("--no-wait", is_flag=True, help="Return as soon as it is accepted.")
@yes_option
@cluster_options
@pass_session
def undo(session: Session, fleet: str, plan_only: bool, no_wait: bool, yes: bool) -> int:
    """Roll back to the generation before, at the same pace."""
    return _begin(session, _request("undo", fleet), plan_only, yes, no_wait, "rollout undo")


@rollout.command("pause")
@fleet_argument
@cluster_options
@pass_session
def pause(session: Session, fleet: str) -> None:
    """Change no further VM until it is resumed."""
    _say(session, _change(session, _request("pause", fleet)))


@rollout.command("resume")
@fleet_argument
@cluster_options
@pass_session
def resume(session: Session, fleet: str) -> None:
    """Go on with one that was paused or has halted."""
    _say(session, _change(session, _request("resume", fleet)))


@rollout.command("abort")
@fleet_argument
@cluster_options
@pass_session
def abort(session: Session, fleet: str) -> None:
    """End it: VMs that were changed stay so, and new ones are made as before it."""
    _say(session, _change(session, _request("abort", fleet)))


@rollout.command("status")
@fleet_argument
@click.option("--follow", is_flag=True, help="Until it is over.")
@cluster_options
@pass_session
def status(session: Session, fleet: str, follow: bool) -> int:
    """Show how far the last one is."""
    request = _request("show", fleet)
    shown = session.cluster.call(lambda stub: stub.Rollout, request)
    if not follow:
        _say(session, shown)
        return ExitCode.DONE
    return _follow(session, shown)


def _request(action: str, fleet: str) -> cluster.RolloutRequest:
    from fleet.v1 import cluster_pb2
    from fleetctl.views.enum_names import rollout_action

    return cluster_pb2.RolloutRequest(fleet=fleet, action=rollout_action(action))


def _change(session: Session, request: cluster.RolloutRequest) -> cluster.RolloutStatus:
    return session.cluster.change(lambda stub: stub.Rollout, request)


def _say(session: Session, shown: cluster.RolloutStatus) -> None:
    from fleetctl.views.fleets.rollouts import coloured_rollout, rollout_json

    if session.json:
        say_json(rollout_json(shown))
    else:
        say(f"{shown.fleet}: {coloured_rollout(shown)}")


def _begin(
    session: Session,
    request: cluster.RolloutRequest,
    plan_only: bool,
    yes: bool,
    no_wait: bool,
    command: str,
) -> int:
    from fleetctl.views.fleets.rollouts import rollout_json, rollout_plan_text

    if plan_only or not yes:
        request.plan_only = True
        plan = session.cluster.call(lambda stub: stub.Rollout, request)
        if plan_only:
            say_json(rollout_json(plan)) if session.json else say(rollout_plan_text(plan))
            return ExitCode.DONE
        vms = counted(plan.left, "VM")
        question = f"Make {vms} of {plan.fleet} anew? What is on their disks is lost."
        confirm(command, question, "nothing was rolled out")
        request.plan_only = False
    shown = _change(session, request)
    if no_wait:
        _say(session, shown)
        return ExitCode.DONE
    return _follow(session, shown)


def _follow(session: Session, shown: cluster.RolloutStatus) -> int:
    """Until it runs no more. Raises Trouble unless it is done."""
    from fleet.v1 import cluster_pb2
    from fleetctl.terminal.progress_line import progress_line
    from fleetctl.views.fleets.failures import failed_for_good
    from fleetctl.views.fleets.rollouts import rollout_text

    request = cluster_pb2.WatchStatusRequest(fleet=shown.fleet, interval_ms=_INTERVAL_MS)
    interrupted = False
    ending: FailedForGood | None = None
    with progress_line(json=session.json) as line:
        try:
            if shown.state == "running":
                for response in session.cluster.follow(lambda stub: stub.WatchStatus, request):
                    shown = response.fleets[0].rollout
                    line.show(f"{shown.fleet}: {rollout_text(shown)}")
                    if shown.state != "running":
                        break
                    if _is_held_up_for_good(response.fleets[0]):
                        ending = failed_for_good(response.fleets[0])
                        break
        except KeyboardInterrupt:
            interrupted = True
    standing = f"{shown.fleet}: {rollout_text(shown)}"
    if session.json or shown.state == "done":
        _say(session, shown)
    if interrupted:
        raise NotConverged(f"no longer watching; the rollout goes on, {standing}")
    if ending is not None:
        raise ending
    if shown.state != "done":
        raise Failed(standing)
    return ExitCode.DONE


def _is_held_up_for_good(status: cluster.FleetStatus) -> bool:
    """Whether no VM more is changed before somebody mends those that have failed."""
    shown = status.rollout
    return shown.held_up and 0 < shown.failed <= shown.failed_for_good
