"""Several hosts drained at once: begun on all, then watched together."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from fleetctl.cli.confirmation import confirm
from fleetctl.commands.hosts.everywhere import failed, on_each, say_outcomes
from fleetctl.commands.hosts.host_choice import Outcome, ask_each
from fleetctl.outcome import ExitCode, Failed, NotConverged, Trouble
from fleetctl.output import counted
from fleetctl.session import Session

if TYPE_CHECKING:
    from fleet.v1 import cluster_pb2 as cluster
    from megafleet.connection.cluster import Cluster

LOOK_SECONDS = 1.0
_NO_SUCH_HOST = "NO_SUCH_HOST"


@dataclass(frozen=True, slots=True)
class DrainBounds:
    """How long a drain may last, and what becomes of it then; and whether it heeds disruption
    budgets. `seconds`: 0: for ever."""

    seconds: float = 0.0
    then: str | None = None
    ignore_budget: bool = False

    def put_into(self, request: cluster.DrainRequest) -> None:
        from fleetctl.views.enum_names import drain_then

        request.deadline_seconds = self.seconds
        request.then = drain_then(self.then)
        request.ignore_budget = self.ignore_budget


_LOOKS_A_SECOND = 200


def confirm_all(hosts: Sequence[str]) -> None:
    """Raises Failed for a no."""
    confirm("drain", f"Drain {counted(len(hosts), 'host')}?", "nothing is drained")


def plan_all(session: Session, hosts: Sequence[str], force: bool) -> int:
    from fleetctl.views.hosts.drains import drain_json, drain_line

    outcomes = on_each(session, hosts, "planning", lambda one, host: _ask(one, host, plan=force))
    words = _without_host(drain_line)
    say_outcomes(session, outcomes, words, lambda host, one: drain_json(host, one, "plan"))
    return ExitCode.DONE if not failed(outcomes, lambda one: True) else ExitCode.FAILED


def drain_all(
    session: Session,
    hosts: Sequence[str],
    cancel: bool,
    no_wait: bool,
    force: bool,
    timeout: float,
    bounds: DrainBounds,
) -> int:
    """Raises Failed, NotConverged."""
    from fleetctl.views.hosts.drains import drain_json, drain_line

    begun = on_each(
        session, hosts, "cancelling drains" if cancel else "beginning drains",
        lambda one, host: _ask(one, host, cancel=cancel, force=force, bounds=bounds),
    )  # fmt: skip
    refused = failed(begun, lambda one: True)
    if cancel or no_wait:
        outcome = "cancelled" if cancel else "accepted"
        words = _without_host(drain_line)
        say_outcomes(
            session, begun,
            (lambda one: "not drained any more") if cancel else words,
            lambda host, one: drain_json(host, one, outcome),
        )  # fmt: skip
        if refused:
            raise Failed(f"{counted(refused, 'host')} of {len(hosts):,} refused")
        return ExitCode.DONE
    draining = [one.host for one in begun if one.answer is not None]
    seen = _until_empty(session, draining, timeout)
    for one in begun:
        if one.answer is None:
            seen[one.host] = _Seen(None, one.trouble)
    ended = [Outcome(host, seen[host].vms, seen[host].failed) for host in hosts]
    say_outcomes(
        session, ended,
        lambda vms: f"{counted(vms, 'VM')} left" if vms else "drained: nothing is left on it",
        lambda host, vms: {"left": vms},
    )  # fmt: skip
    going_on, not_drained = sum(bool(one.answer) for one in ended), failed(ended, lambda vms: True)
    if going_on:
        also = f"; {not_drained:,} could not be drained" if not_drained else ""
        raise NotConverged(
            f"{counted(going_on, 'host')} of {len(hosts):,} go on being drained{also}"
        )
    if not_drained:
        raise Failed(f"{counted(not_drained, 'host')} of {len(hosts):,} could not be drained")
    return ExitCode.DONE


def _ask(
    connection: Cluster, host: str, *, cancel: bool = False, force: bool = False,
    plan: bool | None = None, bounds: DrainBounds | None = None,
) -> cluster.DrainProgress:  # fmt: skip
    """`plan`: only what it would be, and whether by force."""
    from fleet.v1 import cluster_pb2

    request = cluster_pb2.DrainRequest(
        host=host, cancel=cancel, no_wait=True, force=plan if plan is not None else force,
        plan_only=plan is not None,
    )  # fmt: skip
    if bounds is not None:
        bounds.put_into(request)
    with closing(connection.follow(lambda stub: stub.Drain, request)) as answers:
        told = list(answers if plan is not None else islice(answers, 1))
    if not told:
        raise Failed("the controller did not answer")
    return told[-1]


@dataclass(frozen=True, slots=True)
class _Seen:
    """Of one host: how many VMs it has yet, 0 once it is drained; None where its drain has failed,
    and why."""

    vms: int | None
    failed: str = ""


def _until_empty(session: Session, hosts: Sequence[str], timeout: float) -> dict[str, _Seen]:
    """What was seen last of each host. None has VMs left, unless its drain has failed, the time is
    over or Ctrl-C came."""
    from fleetctl.terminal.progress_line import progress_line

    deadline = time.monotonic() + timeout
    seen = {host: _Seen(1) for host in hosts}
    with progress_line(json=session.json) as line:
        try:
            while True:
                under_way = [host for host, one in seen.items() if one.vms]
                if not under_way:
                    return seen
                for one in ask_each(session, under_way, _look, lambda done: None):
                    seen[one.host] = seen[one.host] if one.answer is None else one.answer
                left = [one.vms for one in seen.values() if one.vms]
                if not left or time.monotonic() >= deadline:
                    return seen
                vms = counted(sum(left), "VM")
                line.show(f"draining: {vms} on {counted(len(left), 'host')} left")
                time.sleep(LOOK_SECONDS + len(left) / _LOOKS_A_SECOND)
        except KeyboardInterrupt:
            return seen


def _look(connection: Cluster, host: str) -> _Seen:
    """Raises Trouble, where another look may tell."""
    from fleet.v1 import cluster_pb2
    from fleetctl.views.hosts.drains import held_count

    try:
        detail = connection.call(lambda stub: stub.GetHost, cluster_pb2.GetHostRequest(id=host))
    except Trouble as trouble:
        if trouble.reason != _NO_SUCH_HOST:
            raise
        return _Seen(None, trouble.message)
    if detail.HasField("drain"):
        return _Seen(0 if detail.drain.done else max(1, detail.drain.left))
    # Its deadline, or somebody, has ended the drain: done it is only where nothing is left.
    if left := held_count(detail):
        are = "is" if left == 1 else "are"
        return _Seen(
            None, f"its drain was stopped or cancelled: {counted(left, 'VM')} {are} left on it"
        )
    return _Seen(0)


def _without_host(
    line: Callable[[str, cluster.DrainProgress], str],
) -> Callable[[cluster.DrainProgress], str]:
    """The line of one host, so that it is the same for hosts that agree."""
    return lambda progress: line("", progress).removeprefix(": ")
