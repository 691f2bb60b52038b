"""fleetctl recover: going on after the store came back older than its hosts, or as another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fleetctl.cli.arguments import fleet_name
from fleetctl.cli.arguments import total as total_of
from fleetctl.cli.confirmation import agreed, must_ask, plan_option, yes_option
from fleetctl.outcome import ExitCode, Failed, Misuse
from fleetctl.output import doing, note, say, say_json
from fleetctl.session import Session, cluster_options, pass_session

if TYPE_CHECKING:
    from fleet.v1 import cluster_pb2 as cluster


def fleet_total(text: str) -> tuple[str, int]:
    """spv=100. Raises click.BadParameter."""
    name, equals, number = text.partition("=")
    if not (name and equals):
        raise click.BadParameter(f"{text[:80]!r} is no total of a fleet; write FLEET=NUMBER")
    return fleet_name(name), total_of(number)


@click.command()
@plan_option
@click.option("--adopt", is_flag=True, help="Make assignments anew of what hosts run.")
@click.option("--confirm", is_flag=True, help="The store's assignments are right: go on with them.")
@click.option(
    "--total",
    "totals",
    metavar="FLEET=NUMBER",
    type=fleet_total,
    multiple=True,
    help="This fleet's total is to be that; may be given several times.",
)
@click.option("--keep-totals", is_flag=True, help="All other totals are right as shown.")
@click.option(
    "--absent",
    metavar="HOST",
    multiple=True,
    help="This host is gone: it is declared lost; may be given several times.",
)
@click.option(
    "--begin",
    metavar="REASON",
    default="",
    help="Freeze changes now: the store is not the one that hosts were told from.",
)
@yes_option
@cluster_options
@pass_session
def recover(
    session: Session,
    plan_only: bool,
    adopt: bool,
    confirm: bool,
    totals: tuple[tuple[str, int], ...],
    keep_totals: bool,
    absent: tuple[str, ...],
    begin: str,
    yes: bool,
) -> int:
    """Take changes again after the store came back older than its hosts, or as another.

    Until then nothing is changed, and every VM goes on as it is. --plan shows what was found.
    --adopt makes the assignments of hosts that are ahead of the store anew of what they have: the
    newer word. --confirm goes on with the store's own. Adopting needs every fleet's total, and
    every host that the store knows to be heard or --absent; it may be said in several runs.

    Changes freeze by themselves where one host proves that it was told more than the store knows,
    or many claim it. --begin does it by your word, and believes what hosts claim.

    Hosts that joined after the backup announce themselves within a minute. The exit code is 3
    while changes stay frozen.
    """  # fmt: skip
    if adopt and confirm:
        raise Misuse("--adopt and --confirm exclude each other")
    if begin:
        if adopt or confirm or plan_only:
            raise Misuse("--begin stands alone: look at --plan once hosts were heard")
        return _begin(session, begin, yes)
    if not (adopt or confirm or plan_only):
        raise Misuse("say how: --plan shows what was found, --adopt or --confirm goes on")
    if not (plan_only or yes):
        must_ask("recover")
    from fleet.v1 import cluster_pb2

    request = cluster_pb2.RecoverRequest(
        adopt=not confirm, plan_only=True, totals=dict(totals), absent_hosts=absent
    )
    plan = _recover(session, request)
    if keep_totals:
        for one in plan.fleets:
            if not one.problem:
                request.totals[one.fleet] = one.total
        plan = _recover(session, request)
    if plan_only:
        _say_plan(session, plan, request.adopt)
        return ExitCode.DONE
    if not yes:
        _confirm(plan, request.adopt)
    request.plan_only, request.plan_token = False, plan.token
    done = _recover(session, request)
    _say_result(session, done)
    return ExitCode.NOT_CONVERGED if done.frozen else ExitCode.DONE


def _begin(session: Session, reason: str, yes: bool) -> int:
    from fleet.v1 import cluster_pb2

    if not yes:
        must_ask("recover --begin")
        if not agreed("Freeze all changes until the store was recovered?"):
            raise Failed("nothing was frozen")
    _recover(session, cluster_pb2.RecoverRequest(begin=reason))
    if session.json:
        say_json({"frozen": True})
    else:
        say("changes are frozen; 'fleetctl recover --plan' shows what hosts have")
    return ExitCode.DONE


def _recover(session: Session, request: cluster.RecoverRequest) -> cluster.RecoverResponse:
    with doing("looking at what hosts have ..."):
        return session.cluster.change(lambda stub: stub.Recover, request)


def _say_plan(session: Session, plan: cluster.RecoverResponse, adopt: bool) -> None:
    from fleetctl.views.cluster.recovery import plan_text, recover_json

    if session.json:
        say_json(recover_json(plan))
    else:
        say(plan_text(plan, adopt=adopt))


def _confirm(plan: cluster.RecoverResponse, adopt: bool) -> None:
    from fleetctl.views.cluster.recovery import plan_text

    note(plan_text(plan, adopt=adopt))
    if not agreed("Do this?"):
        raise Failed("nothing was recovered; changes stay frozen")


def _say_result(session: Session, done: cluster.RecoverResponse) -> None:
    from fleetctl.views.cluster.recovery import recover_json

    if session.json:
        say_json(recover_json(done))
    elif done.frozen:
        say(f"remembered; changes stay frozen. Still needed: {done.message}")
    else:
        say("changes are taken again; 'fleetctl status' shows how fleets stand")
