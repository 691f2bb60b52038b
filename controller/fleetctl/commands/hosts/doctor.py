"""fleetctl doctor: what of a host's limits stands in the way."""

from __future__ import annotations

import click

from fleetctl.outcome import ExitCode
from fleetctl.output import doing, say, say_json
from fleetctl.session import Session, cluster_options, pass_session

# The host may be busy with starts: reading all that Xen and its logs tell takes its time.
TIMEOUT = 100.0
guests_option = click.option(
    "--guests",
    type=click.IntRange(1, 65_536),
    default=None,
    help="VMs on the host; what it is set to take, unless given.",
)


@click.command()
@click.argument("host", default="")
@guests_option
@click.option("--all", "everything", is_flag=True, help="Also what passes and what does not apply.")
@cluster_options
@pass_session
def doctor(session: Session, host: str, guests: int | None, everything: bool) -> int:
    """Show which limits of a host stand in the way of so many VMs.

    Every known limit of a dense dom0 is read on the host and judged: the value found, what is
    needed, how many VMs it admits, and the exact line that lifts it. Limits that were met since
    the host was booted are named from its logs. Nothing is changed. HOST may be left out while
    there is only one.

    The exit code is 0 when so many VMs fit, 1 when a limit is in the way.
    """
    connection = session.cluster
    from fleet.v1 import cluster_pb2
    from fleetctl.views.hosts.limits import doctor_json, doctor_text, fits

    request = cluster_pb2.HostDoctorRequest(host=host, guests=guests or 0)
    with doing("reading the host's limits ..."):
        limit = session.request_timeout or TIMEOUT
        answer = connection.call(lambda stub: stub.Doctor, request, limit)
    if session.json:
        say_json(doctor_json(answer, host))
    else:
        say(doctor_text(answer, host, everything))
    return ExitCode.DONE if fits(answer) else ExitCode.FAILED
