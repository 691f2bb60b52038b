"""fleetctl rollout: a new template, made true of VMs that run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fleetctl.cli.arguments import fleet_argument, span
from fleetctl.cli.confirmation import confirm, plan_option, yes_option
from fleetctl.cli.help_page import OrderedGroup
from fleetctl.commands.fleets.rollout_pace import amount, pace_options, set_pace
from fleetctl.outcome import ExitCode, Failed, FailedForGood, Misuse, NotConverged
from fleetctl.output import say, say_json
from fleetctl.session import Session, cluster_options, pass_session

if TYPE_CHECKING:
    from fleet.v1 import cluster_pb2 as cluster

_INTERVAL_MS = 500  # between two statuses that change
_AT_WORK = ("running", "canary")


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
    "--canary",
    metavar="N|N%",
    type=amount,
    default=None,
    help="Change so many VMs first, and the rest once it is promoted.",
)
@click.option(
    "--promote-after",
    "promote_after",
    metavar="DURATION",
    type=span,
    default=None,
    help="Promote it by itself once its canaries have run for so long; else by hand.",
)
@pace_options
@plan_option
@click.option("--no-wait", is_flag=True, help="Return as soon as it is accepted.")
@yes_option
@cluster_options
@pass_session
def start(
    session: Session,
    fleet: str,
    generation: int | None,
    canary: tuple[int, float] | None,
    promote_after: float | None,
    unavailable: tuple[int, float],
    by_label: str,
    halt_share: float,
    undo_on_halt: bool,
    plan_only: bool,
    no_wait: bool,
    yes: bool,
) -> int:
    """Make VMs of other generations anew from a fleet's template, where they are.

    Each begins with a fresh clone: what is on its disk is lost. With --canary, so many VMs are
    changed first, on as many hosts as can be, and further VMs are made as before until it is
    promoted: by 'rollout promote', or after --promote-after, once all but the --halt-share of
    its canaries have run for so long without a break.

    Ctrl-C ends the watching, not the rollout: then the exit code is 3. It is 6 when it waits for
    nothing but VMs that have failed for reasons that no waiting mends. Without --promote-after
    the watching ends when all canaries run.
    """  # fmt: skip
    if promote_after and not canary:
        raise Misuse("--promote-after is of a rollout with canaries: give --canary as well")
    request = _request("canary" if canary else "start", fleet)
    request.generation = generation or 0
    set_pace(request, unavailable, by_label, halt_share, undo_on_halt)
    if canary:
        request.canaries, request.canary_share = canary
        request.promote_after_seconds = max(1, round(promote_after)) if promote_after else 0
    return _begin(session, request, plan_only, yes, no_wait, "rollout start")


@rollout.command("promote")
@fleet_argument
@plan_option
@click.option("--no-wait", is_flag=True, help="Return as soon as it is accepted.")
@yes_option
@cluster_options
@pass_session
def promote(session: Session, fleet: str, plan_only: bool, no_wait: bool, yes: bool) -> int:
    """Change the rest, after its canaries or a hold."""
    request = _request("promote", fleet)
    return _begin(session, request, plan_only, yes, no_wait, "rollout promote")


@rollout.command("hold")
@fleet_argument
@click.option(
    "--new-vms",
    "generation",
    metavar="GENERATION",
    type=click.IntRange(1, 2**31),
    default=None,
    help="What further VMs are made of meanwhile; else what they are made of now.",
)
@cluster_options
@pass_session
def hold(session: Session, fleet: str, generation: int | None) -> None:
    """Keep both generations side by side, until it is promoted, resumed, undone or aborted."""
    request = _request("hold", fleet)
    request.generation = generation or 0
    _say(session, _change(session, request))


@rollout.command("back")
@fleet_argument
@click.option(
    "--to",
    "generation",
    metavar="GENERATION",
    type=click.IntRange(1, 2**31),
    required=True,
    help="As 'fleetctl fleets generations' has them.",
)
@pace_options
@plan_option
@click.option("--no-wait", is_flag=True, help="Return as soon as it is accepted.")
@yes_option
@cluster_options
@pass_session
def back(
    session: Session,
    fleet: str,
    generation: int,
    unavailable: tuple[int, float],
    by_label: str,
    halt_share: float,
    undo_on_halt: bool,
    plan_only: bool,
    no_wait: bool,
    yes: bool,
) -> int:
    """Roll back to any generation that the fleet had, in place of a rollout that is not over."""
    request = _request("back", fleet)
    request.generation = generation
    set_pace(request, unavailable, by_label, halt_share, undo_on_halt)
    return _begin(session, request, plan_only, yes, no_wait, "rollout back")


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
    """Go on with one that was paused, is held or has halted."""
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
    from fleetctl.views.fleets.rollouts import (
        rollout_json,
        rollout_plan_text,
        rollout_question,
    )

    if plan_only or not yes:
        request.plan_only = True
        plan = session.cluster.call(lambda stub: stub.Rollout, request)
        if plan_only:
            say_json(rollout_json(plan)) if session.json else say(rollout_plan_text(plan))
            return ExitCode.DONE
        confirm(command, rollout_question(plan), "nothing was rolled out")
        request.plan_only = False
    shown = _change(session, request)
    if no_wait:
        _say(session, shown)
        return ExitCode.DONE
    return _follow(session, shown)


def _follow(session: Session, shown: cluster.RolloutStatus) -> int:
    """Until it changes nothing more by itself. Raises Trouble unless it is done, or waits for its
    promotion by hand."""
    from fleet.v1 import cluster_pb2
    from fleetctl.terminal.progress_line import progress_line
    from fleetctl.views.fleets.failures import failed_for_good
    from fleetctl.views.fleets.rollouts import rollout_text

    request = cluster_pb2.WatchStatusRequest(fleet=shown.fleet, interval_ms=_INTERVAL_MS)
    interrupted = False
    ending: FailedForGood | None = None
    with progress_line(json=session.json) as line:
        try:
            if shown.state in _AT_WORK:
                for response in session.cluster.follow(lambda stub: stub.WatchStatus, request):
                    shown = response.fleets[0].rollout
                    line.show(f"{shown.fleet}: {rollout_text(shown)}")
                    if shown.state not in _AT_WORK or shown.awaits_word:
                        break
                    if _is_held_up_for_good(response.fleets[0]):
                        ending = failed_for_good(response.fleets[0])
                        break
        except KeyboardInterrupt:
            interrupted = True
    standing = f"{shown.fleet}: {rollout_text(shown)}"
    if session.json or shown.state == "done" or shown.awaits_word:
        _say(session, shown)
    if interrupted:
        raise NotConverged(f"no longer watching; the rollout goes on, {standing}")
    if ending is not None:
        raise ending
    if shown.state != "done" and not shown.awaits_word:
        raise Failed(standing)
    return ExitCode.DONE


def _is_held_up_for_good(status: cluster.FleetStatus) -> bool:
    """Whether no VM more is changed before somebody mends those that have failed."""
    shown = status.rollout
    return shown.held_up and 0 < shown.failed <= shown.failed_for_good
