"""fleetctl wait: for a fleet or a host to be as it should, for scripts."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from fleetctl.cli.arguments import fleet_name, waiting_time
from fleetctl.commands.cluster.wait_ending import Ended
from fleetctl.commands.cluster.wait_for_host import HostWait
from fleetctl.outcome import Failed, NotConverged, Trouble, Unreachable
from fleetctl.output import counted, duration, number
from fleetctl.session import Session, cluster_options, pass_session
from megafleet.conditions import Condition, FleetCondition

if TYPE_CHECKING:
    from megafleet.connection.follow import Waiting


@click.command()
@click.argument("name", metavar="[FLEET|HOST]", default="")
@click.option(
    "--for", "condition", required=True, type=click.Choice([one.value for one in Condition]),
    help="What must be so.",
)  # fmt: skip
@click.option(
    "--timeout", metavar="TIME", type=waiting_time, default="10m", show_default=True,
    help="How long at most: 90s, 8m, 2h.",
)  # fmt: skip
@cluster_options
@pass_session
def wait(session: Session, name: str, condition: str, timeout: float) -> int:
    """Wait until a fleet or a host is as it should be, and change nothing.

    running: every VM that is wanted on runs. converged: nothing is left to start, to stop or to
    release. host-live: a controller hears the host; it need not be known yet.

    The exit code is 0 when it is so; 3 at the timeout and after Ctrl-C; 6 when it can only become
    so if somebody mends what is named; 4 when no controller answered; 1 when the fleet is not there
    or is being deleted. The name of a fleet may be left out while there is only one.
    """
    kind = Condition(condition)
    if kind.of_host:
        if not name:
            raise click.UsageError(f"--for {condition} needs the name of a host")
        return HostWait(session, name, timeout).run().tell(session)
    return _wait_for_fleet(session, fleet_name(name), kind, timeout).tell(session)


def _wait_for_fleet(session: Session, fleet: str, kind: Condition, timeout: float) -> Ended:
    from megafleet.connection.follow import Waiting
    from megafleet.progress import ChangeProgress

    started = time.monotonic()
    fleet = fleet or _only_fleet(session)
    waiting = Waiting(FleetCondition(fleet, kind), ChangeProgress(started))
    interrupted = False
    try:
        _watch(session, waiting, timeout)
    except KeyboardInterrupt:
        interrupted = True
    trouble = _trouble(waiting, kind, timeout, interrupted)
    seconds = time.monotonic() - started
    return Ended(fleet, kind, _text(waiting), seconds, trouble, _json(waiting))


def _only_fleet(session: Session) -> str:
    from fleet.v1 import cluster_pb2

    answer = session.cluster.call(lambda stub: stub.Status, cluster_pb2.StatusRequest())
    if len(answer.fleets) != 1:
        names = ", ".join(one.fleet for one in answer.fleets[:10]) or "there is none yet"
        raise Failed(f"name the fleet to wait for ({names})")
    return answer.fleets[0].fleet


def _watch(session: Session, waiting: Waiting, timeout: float) -> None:
    from megafleet.connection import follow

    if session.json:
        follow.wait(session.cluster, waiting, timeout, follow.NoViewer())
        return
    from fleetctl.terminal.progress_viewers import progress_viewer

    with progress_viewer(waiting.progress.started) as viewer:
        follow.wait(session.cluster, waiting, timeout, viewer)


def _trouble(
    waiting: Waiting, kind: Condition, timeout: float, interrupted: bool
) -> Trouble | None:
    from fleetctl.views.fleets.failures import failed_for_good
    from megafleet.progress import GoalState

    fleet, status = waiting.goal.fleet, waiting.status
    if waiting.state is GoalState.DONE:
        return None
    if waiting.state is GoalState.DELETED:
        return Failed(f"{fleet} is being deleted: it does not become {kind.value} again")
    if waiting.state is GoalState.FAILED_FOR_GOOD and status:
        return failed_for_good(status)
    if interrupted:
        return NotConverged("no longer waiting; nothing was changed")
    if status is None:
        return Unreachable(f"no controller answered within {duration(timeout)}")
    return NotConverged(
        f"not {kind.value} after {duration(timeout)}, {_text(waiting)}; see 'fleetctl status "
        f"{fleet}'"
    )


def _text(waiting: Waiting) -> str:
    from fleetctl.views.fleets.fleet_status import reasons_text, states_of
    from megafleet.progress import running

    status = waiting.status
    if status is None:
        return "no status was seen"
    parts = [f"{number(running(status))} of {counted(status.total, 'VM')} running"]
    parts += [f"{number(status.unplaced)} unplaced"] if status.unplaced else []
    parts += [f"{number(status.releasing)} to be released"] if status.releasing else []
    if failed := states_of(status)["failed"]:
        parts.append(f"{number(failed)} failed ({reasons_text(status) or 'no reason is known'})")
    return f"{status.fleet}: {', '.join(parts)}"


def _json(waiting: Waiting) -> dict[str, Any]:
    from fleetctl.views.fleets.fleet_status import fleet_json

    return {"status": fleet_json(waiting.status) if waiting.status else None}
