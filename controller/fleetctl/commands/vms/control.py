"""fleetctl vms restart, reimage, stop, start, retry: done to chosen VMs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from fleetctl.cli.arguments import fleet_argument, indices
from fleetctl.cli.confirmation import confirm, plan_option, yes_option
from fleetctl.outcome import Misuse
from fleetctl.output import STATES, counted, say, say_json
from fleetctl.session import Session, cluster_options, pass_session

if TYPE_CHECKING:
    from fleet.ranges import IndexSet
    from fleet.v1 import cluster_pb2 as cluster


Decorated = Callable[..., None]


@dataclass(frozen=True, slots=True)
class _Choice:
    """Which VMs."""

    fleet: str
    indices: IndexSet | None
    host: str
    state: str | None
    ignore_budget: bool = False


_ASKS_NOTHING = ("retry",)
# What goes on in waves where the fleet has a disruption budget.
_IN_WAVES = ("restart", "reimage")


def _wave_options(command: Decorated) -> Decorated:
    """What they take besides, where a disruption budget has them go on in waves."""
    command = click.option(
        "--ignore-budget", is_flag=True,
        help="All at once, whatever the fleet's disruption budget allows.",
    )(command)  # fmt: skip
    return click.option(
        "--cancel", is_flag=True,
        help="End what still waits for the fleet's disruption budget; what is done stays.",
    )(command)  # fmt: skip


def _no_options(command: Decorated) -> Decorated:
    return command


def _command(action: str, sentence: str) -> click.Command:
    """One command: they differ in what is done alone."""
    waves = _wave_options if action in _IN_WAVES else _no_options

    @click.command(action, help=sentence)
    @fleet_argument
    @click.option(
        "--index", "index", metavar="RANGES", type=indices, default=None,
        help="Only these: 0-99,300.",
    )  # fmt: skip
    @click.option("--host", default="", help="Only VMs of this host.")
    @click.option("--state", type=click.Choice(STATES), default=None, help="Only in this state.")
    @click.option("--all", "everything", is_flag=True, help="All VMs of the fleet.")
    @plan_option
    @click.option("--token", default="", help="Of a plan: refused if anything has changed since.")
    @waves
    @yes_option
    @cluster_options
    @pass_session
    def run(
        session: Session,
        fleet: str,
        index: IndexSet | None,
        host: str,
        state: str | None,
        everything: bool,
        plan_only: bool,
        token: str,
        yes: bool,
        cancel: bool = False,
        ignore_budget: bool = False,
    ) -> None:
        if cancel:
            if everything or index or host or state or plan_only or token or ignore_budget:
                raise Misuse("--cancel takes a fleet alone: it ends all that waits of it")
            _cancel(session, action, fleet)
            return
        if everything == bool(index or host or state):
            raise Misuse("say which VMs are meant: --index, --host, --state, or else --all")
        choice = _Choice(fleet, index, host, state, ignore_budget)
        _control(session, action, choice, plan_only, token, yes)

    return run


def _control(
    session: Session, action: str, choice: _Choice, plan_only: bool, token: str, yes: bool
) -> None:
    connection = session.cluster
    from fleetctl.views.vms.control import control_json, control_text, nothing_text

    request = _request(action, choice)
    if plan_only or not (yes or action in _ASKS_NOTHING):
        request.plan_only = True
        plan = connection.call(lambda stub: stub.ControlVms, request)
        if plan_only or not plan.vms:
            if session.json:
                say_json(control_json(action, choice.fleet, plan, "plan"))
            elif plan.vms:
                say(f"{control_text(action, plan)}\n--token {plan.token} does exactly this")
            else:
                say(nothing_text(action))
            return
        confirm(action, f"{_upper_first(control_text(action, plan))}. Go on?", "nothing was done")
        token = token or plan.token
    request.plan_only, request.plan_token = False, token
    answer = connection.change(lambda stub: stub.ControlVms, request)
    if session.json:
        say_json(control_json(action, choice.fleet, answer, "accepted"))
    elif answer.vms:
        where = f"{counted(answer.vms, 'VM')} on {counted(answer.hosts, 'host')}"
        waves = f", at most {answer.at_once:,} at once" if answer.at_once else ""
        say(f"{action}: accepted, {where}{waves}; 'fleetctl status' shows how far it is")
    else:
        say(nothing_text(action))


def _cancel(session: Session, action: str, fleet: str) -> None:
    """What waits for its turn is not done; what is done stays so."""
    from fleet.v1 import cluster_pb2
    from fleetctl.views.enum_names import control_action
    from fleetctl.views.vms.control import control_json

    request = cluster_pb2.ControlVmsRequest(fleet=fleet, action=control_action(f"cancel_{action}"))
    answer = session.cluster.change(lambda stub: stub.ControlVms, request)
    if session.json:
        say_json(control_json(action, fleet, answer, "cancelled"))
    else:
        say(f"{action}: cancelled, {counted(answer.vms, 'VM')} left as they are")


def _upper_first(text: str) -> str:
    return text[:1].upper() + text[1:]


def _request(action: str, choice: _Choice) -> cluster.ControlVmsRequest:
    from fleet.v1 import cluster_pb2
    from fleet.wire_ranges import to_wire
    from fleetctl.views.enum_names import control_action, vm_state

    return cluster_pb2.ControlVmsRequest(
        fleet=choice.fleet,
        action=control_action(action),
        indices=to_wire(choice.indices) if choice.indices else (),
        state=vm_state(choice.state),
        host=choice.host,
        ignore_budget=choice.ignore_budget,
    )


COMMANDS = (
    _command(
        "restart",
        "Stop VMs and start them again, on the disks they have. Each host restarts no more at "
        "once than may boot there at once. With a disruption budget of the fleet they go down in "
        "waves that it allows.",
    ),
    _command(
        "reimage",
        "Make VMs anew from their golden image, where they are. What is on their disks is lost. "
        "With a disruption budget of the fleet they go down in waves that it allows.",
    ),
    _command(
        "stop",
        "Stop VMs, and leave them off: they keep their place and their disk until they are "
        "started.",
    ),
    _command("start", "Start VMs that were stopped."),
    _command(
        "retry",
        "Try VMs that have failed at once, however long they would have waited. Nothing is asked: "
        "no VM loses anything by it.",
    ),
)
