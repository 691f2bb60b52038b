"""fleetctl apply: fleet files become fleets, or other templates and settings of them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from fleetctl.cli.confirmation import agreed, must_ask, yes_option
from fleetctl.outcome import Failed, Trouble
from fleetctl.output import doing, note, say, say_json
from fleetctl.session import Session, cluster_options, pass_session

if TYPE_CHECKING:
    from fleet.v1 import cluster_pb2 as cluster
    from megafleet.fleet_file.parser import ParsedFleet


@dataclass(frozen=True, slots=True)
class _Wish:
    """What is applied, and how it was said."""

    files: tuple[str, ...]
    fleets: Sequence[ParsedFleet]
    prune: bool

    @property
    def many(self) -> bool:
        """Whether the answer is a list, whatever is in the files: for those who read it."""
        from megafleet.fleet_file.reading import is_folder

        return self.prune or len(self.fleets) != 1 or any(map(is_folder, self.files))

    @property
    def command(self) -> str:
        """The command line that says it."""
        files = " ".join(f"-f {shlex.quote(name)}" for name in self.files)
        return f"fleetctl apply {files}{' --prune' if self.prune else ''}"


@click.command()
@click.option(
    "-f", "--file", "filenames", metavar="FILE", required=True, multiple=True,
    help="A fleet file, or a folder of them; - for stdin. May be given several times.",
)  # fmt: skip
@click.option(
    "--diff", "--dry-run", "plan_only", is_flag=True,
    help="Show field by field what it would do, and do nothing.",
)  # fmt: skip
@click.option(
    "--prune", is_flag=True,
    help="Delete the fleets that no file names, with all their VMs. It shows which, and asks.",
)  # fmt: skip
@click.option("--token", default="", help="Of a plan: refused if anything has changed since.")
@yes_option
@cluster_options
@pass_session
def apply(
    session: Session,
    filenames: tuple[str, ...],
    plan_only: bool,
    prune: bool,
    token: str,
    yes: bool,
) -> None:
    """Make fleets from files, or give those that there are another template or other settings.

    A file holds one fleet, or several with `---` between them. A new fleet has no VMs until it is
    scaled. Another template makes a generation, for VMs that are created from then on; running VMs
    stay as they are. Placement, admission, readiness, on_loss and on_isolation are settings of the
    fleet: they make no generation, and no VM is touched for them.
    """
    from megafleet.fleet_file.reading import read_fleets

    wish = _Wish(filenames, read_fleets(filenames), prune)
    if not (plan_only or prune or token):
        _carry_out(session, wish, None)
        return
    if prune and not (plan_only or token or yes):
        must_ask("apply --prune")
    with doing("planning ..."):
        plan = _plan(session, wish)
    if plan_only:
        _show(session, wish, plan)
        return
    if token and token != plan.token:
        raise Failed(
            "what there is, or the files, have changed since that plan was made; look at a new one",
            reason="STALE_PLAN",
        )
    if prune and not (token or yes):
        _ask(plan)
    _carry_out(session, wish, plan)


def _plan(session: Session, wish: _Wish) -> cluster.PlanFleetsResponse:
    connection = session.cluster
    from megafleet.connection.fleet_plans import plan_of_all, plan_requests

    return plan_of_all(
        [
            connection.call(lambda stub: stub.PlanFleets, request)
            for request in plan_requests(wish.fleets, prune=wish.prune)
        ]
    )


def _show(session: Session, wish: _Wish, plan: cluster.PlanFleetsResponse) -> None:
    from fleetctl.views.fleets.fleet_plans import plans_json, plans_text

    if session.json:
        say_json(plans_json(plan))
    else:
        say(plans_text(plan, wish.command))


def _ask(plan: cluster.PlanFleetsResponse) -> None:
    """Raises Failed for a no."""
    from fleetctl.views.fleets.fleet_plans import effect_of, plans_text

    gone = [one for one in plan.fleets if effect_of(one) == "delete"]
    if not gone:
        return
    note(plans_text(plan, ""))
    names = ", ".join(one.fleet for one in gone)
    if not agreed(f"Do this, and delete {names} with all VMs?"):
        raise Failed("nothing was applied or deleted")


def _carry_out(session: Session, wish: _Wish, plan: cluster.PlanFleetsResponse | None) -> None:
    """Fleet by fleet. What is refused half-way leaves what was before it done, and says so."""
    from fleetctl.views.fleets.fleet_plans import applied_json, applied_text, effect_of
    from fleetctl.views.fleets.fleets import fleet_json

    tokens = {one.fleet: one.token for one in plan.fleets} if plan else {}
    gone = [one.fleet for one in plan.fleets if effect_of(one) == "delete"] if plan else []
    left = [*(one.name for one in wish.fleets), *gone]
    applied, deleted = [], []
    try:
        for fleet in wish.fleets:
            answer = _apply(session, fleet, tokens.get(fleet.name, ""))
            left.remove(fleet.name)
            applied.append(applied_json(answer))
            if not session.json:
                say(applied_text(answer))
        for name in gone:
            went = _delete(session, name, tokens[name])
            left.remove(name)
            deleted.append(fleet_json(went.fleet))
            if not session.json:
                say(f"{name}: being deleted; 'fleetctl status {name}' shows how far it is")
    except (Trouble, KeyboardInterrupt):
        if wish.many:
            note(f"not done, or not known to be: {', '.join(left)}")
            if session.json:
                say_json({"fleets": applied, "deleted": deleted, "left": left})
        raise
    if session.json:
        say_json({"fleets": applied, "deleted": deleted, "left": []} if wish.many else applied[0])


def _apply(session: Session, fleet: ParsedFleet, token: str) -> cluster.ApplyFleetResponse:
    connection = session.cluster
    from fleet.v1 import cluster_pb2

    request = cluster_pb2.ApplyFleetRequest(name=fleet.name, spec=fleet.spec, plan_token=token)
    return connection.change(lambda stub: stub.ApplyFleet, request, again=not token)


def _delete(session: Session, name: str, token: str) -> cluster.DeleteFleetResponse:
    connection = session.cluster
    from fleet.v1 import cluster_pb2

    request = cluster_pb2.DeleteFleetRequest(name=name, plan_token=token)
    return connection.change(lambda stub: stub.DeleteFleet, request)
