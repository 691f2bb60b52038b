"""A cluster founded on this machine: authority, etcd with its access control, controller, context.

Each step looks whether it is done already, so the same command goes on where it has ended. Where
systemd does not run, somebody else starts what is to run, and this goes on after it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from fleet.transport import Identity
from fleetctl.client.contexts import ClusterContext, config_file, editing
from fleetctl.founding import units
from fleetctl.founding.etcd_admin import EtcdAdmin, NotYet
from fleetctl.founding.founder import ETCD_CLIENT, Founder
from fleetctl.founding.installing import install, refuse_another
from fleetctl.founding.invitation import Invitation
from fleetctl.founding.machine import Machine
from fleetctl.founding.replica import Replica
from fleetctl.local.etcd_member import settings_in
from fleetctl.outcome import Failed, Trouble, Unreachable

PREFIX = b"/megafleet/"
# etcd alone, with an empty folder, serves within a second; a machine under load takes longer.
ETCD_SECONDS = 60.0
CONTROLLER_SECONDS = 60.0
_LOOK_SECONDS = 0.5


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
    made(founder.make(operator))
    # Written last, so that it says that all is there.
    if not machine.controller_settings.exists():
        refuse_another(machine)
        given = Invitation(
            replica, founder.identities(replica), founder.issuing_key(), {}, (), "new"
        )
        made(install(machine, given))
    with_systemd = units.has_systemd(machine)
    with EtcdAdmin([replica.client], founder.root_of_etcd()) as etcd:
        if not _answers(etcd):
            if not with_systemd:
                done.commands = [units.foreground(machine, units.etcd_unit(machine))]
                return done
            units.start(units.etcd_unit(machine), anew=True)
            made([f"etcd started, member {replica.name}"])
        _await("etcd", ETCD_SECONDS, lambda: _answers(etcd), "journalctl -u etcd")
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
            "journalctl -u fleet-controller",
        )  # fmt: skip
        made([f"controller {replica.name} started at {replica.endpoint}"])
    made([f"context {context} in {config_file(_environment())}"])
    return done


def controller_answers(context: str) -> bool:
    from fleet.v1 import cluster_pb2
    from fleetctl.client.cluster import Cluster
    from fleetctl.client.contexts import Selection, resolve

    try:
        cluster = Cluster(resolve(Selection(context=context)), 3.0)
        answer = cluster.call(lambda stub: stub.Version, cluster_pb2.VersionRequest())
    except Trouble:
        return False
    return bool(answer.leader or answer.leader_address)


def _refuse_other_replica(machine: Machine, replica: Replica) -> None:
    """This machine is one already, and not this one. Raises Failed."""
    try:
        settings = settings_in(machine.etcd_settings.read_text())
    except FileNotFoundError:
        return
    name = settings.get("ETCD_NAME", "")
    if not machine.controller_settings.exists() or not name:
        return
    url = settings.get("ETCD_INITIAL_ADVERTISE_PEER_URLS", "")
    if (name, url) != (replica.name, replica.peer_url):
        raise Failed(
            f"this machine is controller {name} at {url} already, and not {replica.name} at"
            f" {replica.peer_url}: give the name and the address that it has"
        )


def _answers(etcd: EtcdAdmin) -> bool:
    """And has a leader."""
    try:
        return all(one.answers for one in etcd.members())
    except Unreachable:
        return False


def _is_confined(machine: Machine, replica: Replica) -> bool:
    try:
        identity = Identity.load(machine.etcd_client)
    except OSError as error:
        raise Failed(f"the controller's certificate for etcd cannot be read: {error}") from error
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
            raise Failed(f"{what} does not answer after {seconds:.0f} s: {look} says why")
        time.sleep(_LOOK_SECONDS)


def _add_context(founder: Founder, name: str, replica: Replica) -> None:
    with editing(config_file(_environment())) as held:
        there = held.named.get(name)
        if there is None:
            held.named[name] = ClusterContext.with_identity([replica.endpoint], founder.operator)
            held.current = held.current or name
        elif replica.endpoint not in there.endpoints:
            raise Failed(
                f"context {name} is another cluster's ({', '.join(there.endpoints)}): "
                "give --context another name"
            )


def _environment() -> dict[str, str]:
    import os

    return dict(os.environ)
