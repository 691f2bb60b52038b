"""fleetctl rebalance: VMs moved that stand where they no longer should, or unevenly."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import click

from fleetctl.cli.arguments import fleet_argument
from fleetctl.cli.confirmation import confirm, must_ask, yes_option
from fleetctl.outcome import ExitCode, Failed, Misuse, NotConverged
from fleetctl.output import counted, note, say, say_json
from fleetctl.session import Session, cluster_options, pass_session

if TYPE_CHECKING:
    from fleet.v1 import cluster_pb2 as cluster
    from fleet.v1 import rebalance_pb2 as wire

_INTERVAL_MS = 500  # between two statuses that change


@click.command()
@fleet_argument
@click.option("--plan", "plan_only", is_flag=True, help="Show what it would move, and why.")
@click.option("--apply", "applies", is_flag=True, help="Move it, a few at a time.")
@click.option("--stop", is_flag=True, help="Move nothing more.")
@click.option("--only-bounds", is_flag=True, help="Leave alone what breaks no bound.")
@click.option("--token", default="", help="Of a plan: do that, or be refused.")
@click.option("--no-wait", is_flag=True, help="Return as soon as it is accepted.")
@yes_option
@cluster_options
@pass_session
def rebalance(
    session: Session,
    fleet: str,
    plan_only: bool,
    applies: bool,
    stop: bool,
    only_bounds: bool,
    token: str,
    no_wait: bool,
    yes: bool,
) -> int:
    """Move VMs that stand where their fleet no longer allows them, and make hosts level.

    After another per_host or selector, other labels, new hosts or the end of a drain. Without a
    FLEET: of all fleets. Each VM that moves is made anew elsewhere: what is on its disk is lost.
    Ctrl-C ends the watching, not the rebalance: then the exit code is 3, and --stop ends it.
    """
    if plan_only + applies + stop != 1:
        raise Misuse("say one of --plan, --apply and --stop")
    if stop:
        return _stop(session, fleet)
    if applies and not (token or yes):
        must_ask("rebalance --apply")
    if plan_only or not (token or yes):
        plan = _plan(session, fleet, only_bounds)
        if plan_only:
            _show(session, plan, fleet, only_bounds)
            return ExitCode.DONE
        token = _agreed(plan)
        if not token:
            say("nothing is to be moved")
            return ExitCode.DONE
    begun = _begin(session, fleet, only_bounds, token)
    if no_wait or not begun.fleets:
        _show(session, begun, fleet, only_bounds, done=True)
        return ExitCode.DONE
    return _follow(session, fleet, only_bounds, begun)


def _request(fleet: str, only_bounds: bool, token: str = "") -> wire.RebalanceRequest:
    from fleet.v1 import rebalance_pb2

    return rebalance_pb2.RebalanceRequest(fleet=fleet, only_bounds=only_bounds, plan_token=token)


def _plan(session: Session, fleet: str, only_bounds: bool) -> wire.RebalancePlan:
    connection = session.cluster
    request = _request(fleet, only_bounds)
    return connection.call(lambda stub: stub.PlanRebalance, request, connection.change_timeout)


def _begin(session: Session, fleet: str, only_bounds: bool, token: str) -> wire.RebalancePlan:
    request = _request(fleet, only_bounds, token)
    return session.cluster.change(lambda stub: stub.Rebalance, request, again=not token)


def _stop(session: Session, fleet: str) -> int:
    connection = session.cluster
    from fleet.v1 import rebalance_pb2

    request = rebalance_pb2.StopRebalanceRequest(fleet=fleet)
    stopped = connection.change(lambda stub: stub.StopRebalance, request)
    if session.json:
        say_json({"stopped": list(stopped.fleets)})
    elif stopped.fleets:
        for name in stopped.fleets:
            say(f"{name}: its rebalance is stopped; what has moved stays where it is")
    else:
        say("no rebalance is under way")
    return ExitCode.DONE


def _show(
    session: Session,
    plan: wire.RebalancePlan,
    fleet: str,
    only_bounds: bool,
    done: bool = False,
) -> None:
    from fleetctl.views.fleets.rebalances import plan_json, plan_text

    words = ["fleetctl rebalance", fleet, "--apply", "--only-bounds" if only_bounds else ""]
    if session.json:
        say_json(plan_json(plan))
    elif done and plan.fleets:
        say(f"{counted(plan.vms, 'VM')} to move; 'fleetctl status' shows how far it is")
    else:
        say(plan_text(plan, "" if done else " ".join(filter(None, words))))


def _agreed(plan: wire.RebalancePlan) -> str:
    """The plan's token; empty where nothing is to be done. Raises Failed for a no."""
    from fleetctl.views.fleets.rebalances import plan_text

    if not plan.fleets:
        return ""
    note(plan_text(plan, ""))
    question = f"Move {counted(plan.vms, 'VM')}? What is on their disks is lost."
    if not plan.vms:
        question = "Move these once there is room for them? What is on their disks is lost."
    confirm("rebalance --apply", question, "nothing was moved")
    return plan.token


def _follow(session: Session, fleet: str, only_bounds: bool, begun: wire.RebalancePlan) -> int:
    """Until no fleet that was begun is being rebalanced. Raises Trouble unless it is done."""
    connection = session.cluster
    from fleet.v1 import cluster_pb2
    from fleetctl.terminal.progress_line import progress_line
    from fleetctl.views.fleets.rebalances import plan_json

    request = cluster_pb2.WatchStatusRequest(fleet=fleet, interval_ms=_INTERVAL_MS)
    names = {one.fleet for one in begun.fleets}
    standing, over, interrupted = f"{counted(begun.vms, 'VM')} to move", False, False
    with progress_line(json=session.json) as line:
        try:
            with closing(connection.follow(lambda stub: stub.WatchStatus, request)) as answers:
                for response in answers:
                    under_way = [one for one in response.fleets if one.fleet in names]
                    if not (now := _standing(under_way)):
                        over = True
                        break
                    standing = now
                    line.show(standing)
        except KeyboardInterrupt:
            interrupted = True
    if session.json:
        say_json({**plan_json(begun), "done": over})
    if interrupted:
        raise NotConverged(f"no longer watching; the rebalance goes on: {standing}")
    if not over:
        raise Failed(f"the controller ended the answer; the rebalance goes on: {standing}")
    if left := _plan(session, fleet, only_bounds).vms:
        raise Failed(
            f"the rebalance has ended, and {counted(left, 'VM')} would still move: it was stopped, "
            "or something has changed meanwhile; see --plan"
        )
    if not session.json:
        say(_done(begun))
    return ExitCode.DONE


def _done(begun: wire.RebalancePlan) -> str:
    names = ", ".join(one.fleet for one in begun.fleets)
    return f"{names}: rebalanced, {counted(begun.vms, 'VM')} moved"


def _standing(fleets: list[cluster.FleetStatus]) -> str:
    """Of those that are being rebalanced; empty: none is."""
    from fleetctl.views.fleets.rebalances import status_text

    told = [
        f"{one.fleet}: {status_text(one.rebalance)}" for one in fleets if one.HasField("rebalance")
    ]
    return "; ".join(told)
