"""A cluster founded on this machine: authority, etcd with its access control, controller, context.

Each step looks whether it is done already, so the same command goes on where it has ended. Where
systemd does not run, somebody else starts what is to run, and this goes on after it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from fleet.private_file import said_of
from fleet.transport import Identity
from fleetctl.founding import units
from fleetctl.founding.etcd_admin import EtcdAdmin, NotYet
from fleetctl.founding.founder import ETCD_CLIENT, Founder
from fleetctl.founding.installing import install, refuse_another
from fleetctl.founding.invitation import Invitation
from fleetctl.founding.machine import Machine
from fleetctl.founding.membership import find
from fleetctl.founding.replica import Replica, written
from fleetctl.local.certificate_authority import CA_FILE
from fleetctl.local.etcd_member import settings_in
from fleetctl.outcome import Failed, Trouble, Unreachable
from megafleet.contexts import ClusterContext, config_file, editing, load

PREFIX = b"/megafleet/"
# etcd alone, with an empty folder, serves within a second; a machine under load takes longer.
ETCD_SECONDS = 60.0
CONTROLLER_SECONDS = 60.0
_LOOK_SECONDS = 0.5
_LOOK_AT_ETCD = (
    "journalctl -u etcd says why. Where --name or --address was wrong, give the same command again "
    "with the right one"
)


@dataclass(slots=True)
class Founding:
    """What has come of it. `commands`: what is to be run by hand, each in a terminal of its own,
    before the same command is given again; none: the cluster is there."""

    replica: Replica
    made: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)


def found(
    machine: Machine,
    founder: Founder,
    replica: Replica,
    operator: str,
    context: str,
    tell: Callable[[str], None],
) -> Founding:
    """Raises Trouble. `tell` is given each step as it is done."""
    done = Founding(replica)

    def made(lines: list[str]) -> None:
        done.made.extend(lines)
        for line in lines:
            tell(line)

    _refuse_other_replica(machine, replica)
    _refuse_second_cluster(founder, context, replica)
    made(founder.make(operator))
    # Written last, so that it says that all is there.
    if not machine.controller_settings.exists() or written(machine) not in (None, replica):
        refuse_another(machine)
        given = Invitation(
            replica, founder.identities(replica), founder.issuing_key(), {}, (), "new"
        )
        made(install(machine, given))
    with_systemd = units.has_systemd(machine)
    with EtcdAdmin([replica.client], founder.root_of_etcd()) as etcd:
        if not _answers(etcd, replica):
            if not with_systemd:
                done.commands = [units.foreground(machine, units.etcd_unit(machine))]
                return done
            units.start(units.etcd_unit(machine), anew=True)
            made([f"etcd started, member {replica.name}"])
        _await("etcd", ETCD_SECONDS, lambda: _answers(etcd, replica), _LOOK_AT_ETCD)
        if not _is_confined(machine, replica):
            _confine(etcd)
            made([f"etcd's access control: user {ETCD_CLIENT} below {PREFIX.decode()}, and root"])
    _add_context(founder, context, replica)
    if not controller_answers(context):
        if not with_systemd:
            done.commands = [units.foreground(machine, units.controller_unit(machine))]
            return done
        units.start(units.controller_unit(machine), anew=True)
        _await(
            "the controller", CONTROLLER_SECONDS, lambda: controller_answers(context),
            "journalctl -u fleet-controller says why",
        )  # fmt: skip
        made([f"controller {replica.name} started at {replica.endpoint}"])
    made([f"context {context} in {config_file(_environment())}"])
    return done


def controller_answers(context: str) -> bool:
    from fleet.v1 import cluster_pb2
    from megafleet.connection.cluster import Cluster
    from megafleet.contexts import Selection, resolve

    try:
        cluster = Cluster(resolve(Selection(context=context)), 3.0)
        answer = cluster.call(lambda stub: stub.Version, cluster_pb2.VersionRequest())
    except Trouble:
        return False
    return bool(answer.leader or answer.leader_address)


def _refuse_other_replica(machine: Machine, replica: Replica) -> None:
    """This machine is one already, and not this one. Raises Failed. Where no etcd has come up yet,
    what was written for it may be written anew."""
    there = written(machine)
    if there is None or there == replica:
        return
    settings = settings_in(machine.etcd_settings.read_text())
    is_first = settings.get("ETCD_INITIAL_CLUSTER_STATE") == "new"
    if machine.has_run_etcd or not is_first:
        raise Failed(
            f"this machine is controller {there.shown} already, and not {replica.shown}: give the "
            "name, the address and the ports that it has. Where nothing of it is to be kept: stop "
            f"etcd and the controller, and remove {machine.etcd_data} and "
            f"{machine.controller_settings}"
        )


def _refuse_second_cluster(founder: Founder, context: str, replica: Replica) -> None:
    """What is kept here is one cluster's, and another would share its authority: who is anybody in
    the one would be so in the other. Raises Failed."""
    elsewhere = (
        "keep this cluster's apart: name another file with MEGAFLEET_CONFIG, such as "
        "~/.config/megafleet-2/config.toml"
    )
    contexts = load(config_file(_environment())).named
    own = {
        name: one for name, one in contexts.items() if one.certificate.parent == founder.operator
    }
    if own and not any(replica.endpoint in one.endpoints for one in own.values()):
        name, there = next(iter(own.items()))
        raise Failed(
            f"{founder.folder} has the authorities of cluster {name} "
            f"({', '.join(there.endpoints)}); {elsewhere}. Where that cluster is no more, take "
            f"its section [contexts.{name}] out of {config_file(_environment())}"
        )
    there_already = contexts.get(context)
    if there_already is not None and replica.endpoint not in there_already.endpoints:
        raise _another_clusters(context, there_already)
    if (founder.authority / CA_FILE).exists() and not (founder.etcd_authority / CA_FILE).exists():
        raise Failed(
            f"{founder.authority} has an authority that 'cluster init' did not make; {elsewhere}"
        )


def _answers(etcd: EtcdAdmin, replica: Replica) -> bool:
    """Whether its member does, and has a leader; how others do is another matter."""
    try:
        member = find(etcd.members(), replica)
    except Unreachable:
        return False
    return member is not None and member.answers


def _is_confined(machine: Machine, replica: Replica) -> bool:
    try:
        identity = Identity.load(machine.etcd_client)
    except OSError as error:
        raise Failed(
            f"the controller's certificate for etcd cannot be read: {said_of(error)}"
        ) from error
    with EtcdAdmin([replica.client], identity) as client:
        return client.is_confined(PREFIX)


def _confine(etcd: EtcdAdmin) -> None:
    """etcd refuses such changes for some seconds after its start."""
    deadline = time.monotonic() + ETCD_SECONDS
    while True:
        try:
            return etcd.confine(ETCD_CLIENT, PREFIX)
        except NotYet:
            if time.monotonic() > deadline:
                raise
            time.sleep(_LOOK_SECONDS)


def _await(what: str, seconds: float, there: Callable[[], bool], look: str) -> None:
    """Raises Failed when it does not come."""
    deadline = time.monotonic() + seconds
    while not there():
        if time.monotonic() > deadline:
            raise Failed(f"{what} does not answer after {seconds:.0f} s: {look}")
        time.sleep(_LOOK_SECONDS)


def _add_context(founder: Founder, name: str, replica: Replica) -> None:
    with editing(config_file(_environment())) as held:
        there = held.named.get(name)
        if there is None:
            held.named[name] = ClusterContext.with_identity([replica.endpoint], founder.operator)
            held.current = held.current or name
        elif replica.endpoint not in there.endpoints:
            raise _another_clusters(name, there)


def _another_clusters(name: str, there: ClusterContext) -> Failed:
    return Failed(
        f"context {name} is another cluster's ({', '.join(there.endpoints)}): "
        "give --context another name"
    )


def _environment() -> dict[str, str]:
    import os

    return dict(os.environ)
