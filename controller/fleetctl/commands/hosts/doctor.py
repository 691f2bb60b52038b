"""fleetctl doctor: what of a host's limits stands in the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fleetctl.commands.hosts.everywhere import failed, on_each, say_outcomes
from fleetctl.commands.hosts.host_choice import Choice, chosen, several_hosts
from fleetctl.outcome import ExitCode
from fleetctl.output import doing, say, say_json
from fleetctl.session import Session, cluster_options, pass_session

if TYPE_CHECKING:
    from fleet.v1 import agent_pb2 as agent
    from megafleet.connection.cluster import Cluster

# The host may be busy with starts: reading all that Xen and its logs tell takes its time.
TIMEOUT = 100.0
guests_option = click.option(
    "--guests",
    type=click.IntRange(1, 65_536),
    default=None,
    help="VMs on the host; what it is set to take, unless given.",
)


@click.command()
@several_hosts(argument=True)
@guests_option
@click.option("--full", is_flag=True, help="Also what passes and what does not apply.")
@cluster_options
@pass_session
def doctor(session: Session, choice: Choice, guests: int | None, full: bool) -> int:
    """Show which limits of a host stand in the way of so many VMs.

    Every known limit of a dense dom0 is read on the host and judged: the value found, what is
    needed, how many VMs it admits, and the exact line that lifts it. Limits that were met since
    the host was booted are named from its logs. Nothing is changed. HOST may be left out while
    there is only one. Of several hosts there is a line for all that agree.

    The exit code is 0 when so many VMs fit, 1 when a limit is in the way.
    """
    if choice.of_many:
        return _doctor_many(session, choice, guests)
    connection = session.cluster
    from fleetctl.views.hosts.limits import doctor_json, doctor_text, fits

    with doing("reading the host's limits ..."):
        answer = _examined(connection, choice.one, guests, session.request_timeout)
    if session.json:
        say_json(doctor_json(answer, choice.one))
    else:
        say(doctor_text(answer, choice.one, full))
    return ExitCode.DONE if fits(answer) else ExitCode.FAILED


def _doctor_many(session: Session, choice: Choice, guests: int | None) -> int:
    from fleetctl.views.hosts.limits import doctor_json, doctor_words, fits

    limit = session.request_timeout
    outcomes = on_each(
        session, chosen(session, choice), "reading limits",
        lambda connection, host: _examined(connection, host, guests, limit),
    )  # fmt: skip
    say_outcomes(session, outcomes, doctor_words, lambda host, one: doctor_json(one, host))
    return ExitCode.FAILED if failed(outcomes, fits) else ExitCode.DONE


def _examined(
    connection: Cluster, host: str, guests: int | None, limit: float | None
) -> agent.DoctorResponse:
    from fleet.v1 import cluster_pb2

    request = cluster_pb2.HostDoctorRequest(host=host, guests=guests or 0)
    return connection.call(lambda stub: stub.Doctor, request, limit or TIMEOUT)
