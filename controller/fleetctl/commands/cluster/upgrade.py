"""fleetctl upgrade: agents of hosts are brought to a release, in waves."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from fleetctl.cli.arguments import label, span, waiting_time
from fleetctl.cli.confirmation import confirm, must_ask, plan_option, yes_option
from fleetctl.cli.lazy_group import ListingGroup
from fleetctl.outcome import ExitCode, Failed, NotConverged
from fleetctl.output import counted, say, say_json
from fleetctl.session import Session, cluster_options, pass_session

if TYPE_CHECKING:
    from fleet.v1 import upgrade_pb2 as wire

_INTERVAL_MS = 500


class _BeginningGroup(ListingGroup):
    """`begin` may be left unsaid."""

    default = "begin"


@click.group(cls=_BeginningGroup)
def upgrade() -> None:
    """Bring the agents of hosts to a release, in waves. Without a command: begin.

    Each host runs the one command that its own settings name for it (upgrade_command), with the
    release behind it; as a package, it installs that release from the host's signed repository. VMs
    are not touched.
    """


@upgrade.command("begin")
@click.option("--to", "version", metavar="RELEASE", default="", help="Such as 0.2.0; as a rule "
              "that of the controller that leads.")  # fmt: skip
@click.option("--host", "hosts", metavar="HOST", multiple=True,
              help="Only this one; may be given several times.")  # fmt: skip
@click.option(
    "--label", "labels", metavar="NAME=VALUE", type=label, multiple=True,
    help="Only hosts with this label; with all of them where there are several.",
)  # fmt: skip
@click.option("--waves-by", "wave_label", metavar="NAME", default="rack", show_default=True,
              help="A wave is of hosts that are alike in this label.")  # fmt: skip
@click.option("--width", type=click.IntRange(1, 256), default=16, show_default=True,
              help="Hosts of a wave at most; the very first host goes alone.")  # fmt: skip
@click.option("--back-within", "back", metavar="TIME", type=span, default="10m", show_default=True,
              help="It halts when a host has not the release by then: 90s, 10m, 1h.")  # fmt: skip
@plan_option
@click.option("--no-wait", is_flag=True, help="Return as soon as it is accepted.")
@click.option("--timeout", metavar="TIME", type=waiting_time, default="4h", show_default=True,
              help="How long to watch it: seconds, or 90s, 8m, 2h.")  # fmt: skip
@yes_option
@cluster_options
@pass_session
def begin(
    session: Session,
    version: str,
    hosts: tuple[str, ...],
    labels: tuple[tuple[str, str], ...],
    wave_label: str,
    width: int,
    back: float,
    plan_only: bool,
    no_wait: bool,
    timeout: float,
    yes: bool,
) -> int:
    """Tell hosts to upgrade their agents, a wave at a time.

    A wave begins when all hosts of the one before are live with the release. It halts when one
    fails, or is not back in time. Ctrl-C ends the watching, not the upgrade: then the exit code
    is 3.
    """
    if not (plan_only or yes):
        must_ask("upgrade")
    from fleet.v1 import upgrade_pb2
    from fleetctl.views.cluster.upgrade import plan_text, upgrade_json

    request = upgrade_pb2.BeginUpgradeRequest(
        version=version, wave_label=wave_label, width=width, seconds=round(back),
        selector=dict(labels), hosts=hosts, plan_only=True,
    )  # fmt: skip
    if plan_only or not yes:
        plan = session.cluster.call(lambda stub: stub.BeginUpgrade, request)
        if plan_only:
            say_json(upgrade_json(plan)) if session.json else say(plan_text(plan))
            return ExitCode.DONE
        request.version = plan.version
        if plan.to_go:
            question = f"Upgrade the agents of {counted(plan.to_go, 'host')} to {plan.version}?"
            confirm("upgrade", question, "nothing is upgraded")
    request.plan_only = False
    begun = session.cluster.change(lambda stub: stub.BeginUpgrade, request, again=True)
    if no_wait:
        _say(session, begun)
        return ExitCode.DONE
    return _follow(session, begun, timeout)


@upgrade.command("status")
@click.option("--follow", is_flag=True, help="Until it has ended or is halted.")
@cluster_options
@pass_session
def status(session: Session, follow: bool) -> int:
    """Show how far the last upgrade is."""
    shown = _shown(session)
    if follow:
        return _follow(session, shown, float("inf"))
    _say(session, shown)
    return ExitCode.DONE


@upgrade.command("halt")
@cluster_options
@pass_session
def halt(session: Session) -> None:
    """Begin no further wave until it is resumed. Hosts that were told go on."""
    _say(session, _turn(session, "halt"))


@upgrade.command("resume")
@click.option("--skip", metavar="HOST", multiple=True,
              help="Leave this host as it is; may be given several times.")  # fmt: skip
@cluster_options
@pass_session
def resume(session: Session, skip: tuple[str, ...]) -> None:
    """Go on with one that is halted; hosts that have failed are told once more."""
    _say(session, _turn(session, "resume", skip))


@upgrade.command("cancel")
@cluster_options
@pass_session
def cancel(session: Session) -> None:
    """End it: hosts that have the release keep it, and no other is told."""
    _say(session, _turn(session, "cancel"))


def _turn(session: Session, action: str, skip: tuple[str, ...] = ()) -> wire.UpgradeStatus:
    from fleet.v1 import upgrade_pb2

    asked = upgrade_pb2.ControlUpgradeRequest
    actions = {
        "halt": asked.ACTION_HALT, "resume": asked.ACTION_RESUME, "cancel": asked.ACTION_CANCEL,
    }  # fmt: skip
    request = asked(action=actions[action], skip=skip)
    return session.cluster.change(lambda stub: stub.ControlUpgrade, request, again=True)


def _shown(session: Session) -> wire.UpgradeStatus:
    from fleet.v1 import upgrade_pb2

    return session.cluster.call(lambda stub: stub.GetUpgrade, upgrade_pb2.GetUpgradeRequest())


def _say(session: Session, shown: wire.UpgradeStatus) -> None:
    from fleetctl.views.cluster.upgrade import upgrade_json, upgrade_text

    say_json(upgrade_json(shown)) if session.json else say(upgrade_text(shown))


def _follow(session: Session, shown: wire.UpgradeStatus, timeout: float) -> int:
    """Until it runs no more. Raises Trouble unless it is done."""
    from fleet.v1 import cluster_pb2, upgrade_pb2
    from fleetctl.terminal.progress_line import progress_line
    from fleetctl.views.cluster.upgrade import upgrade_line

    request = cluster_pb2.WatchStatusRequest(interval_ms=_INTERVAL_MS)
    deadline, running = time.monotonic() + timeout, upgrade_pb2.UpgradeStatus.STATE_RUNNING
    left = False
    with progress_line(json=session.json) as line:
        try:
            if shown.state == running:
                for news in session.cluster.follow(lambda stub: stub.WatchStatus, request):
                    if not news.HasField("upgrade") or news.upgrade.state != running:
                        break
                    line.show(upgrade_line(news.upgrade))
                    if time.monotonic() >= deadline:
                        left = True
                        break
        except KeyboardInterrupt:
            left = True
    shown = _shown(session)
    if left and shown.state == running:
        raise NotConverged(
            f"no longer watching; the upgrade goes on, {upgrade_line(shown)}; 'fleetctl upgrade "
            "halt' halts it"
        )
    if session.json or shown.state == upgrade_pb2.UpgradeStatus.STATE_DONE:
        _say(session, shown)
    if shown.state != upgrade_pb2.UpgradeStatus.STATE_DONE:
        raise Failed(
            f"{upgrade_line(shown)}; 'fleetctl upgrade status' tells all, 'fleetctl upgrade "
            "resume' goes on"
        )
    return ExitCode.DONE
