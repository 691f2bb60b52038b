"""What adding and replacing have in common: the line that is printed, the waiting, the settings
here afterwards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fleetctl.commands.founding.refresh import refresh_settings
from fleetctl.founding.etcd_admin import EtcdAdmin
from fleetctl.founding.founder import Founder
from fleetctl.founding.invitation import Invitation
from fleetctl.founding.machine import Machine
from fleetctl.founding.membership import Membership
from fleetctl.founding.quorum import may_fail, voters
from fleetctl.founding.replica import Replica, store_clients
from fleetctl.output import note, say, say_json
from fleetctl.session import Session


def admit(
    session: Session,
    replica: Replica,
    root: Path,
    invite: Callable[[Membership], Invitation],
    *,
    wait: bool,
    seconds: float,
) -> None:
    """Raises Trouble. As JSON the line is all there is: nobody waits."""
    founder = Founder.here()
    with EtcdAdmin(store_clients(root), founder.root_of_etcd()) as etcd:
        membership = Membership(etcd, founder)
        if _promoted_already(membership, replica, etcd):
            tell = note if session.json else say
            refresh_settings(Machine(root), etcd.members(), tell)
            if session.json:
                say_json({"name": replica.name, "endpoint": replica.endpoint, "promoted": True})
            else:
                say(f"{replica.name} is a member of etcd with a vote")
            return
        line = f"echo {invite(membership).text()} | fleetctl cluster join -"
        if session.json:
            say_json({"name": replica.name, "endpoint": replica.endpoint, "line": line})
            return
        note(f"on {replica.name} ({replica.address}), as root; it has keys in it:")
        say(line)
        if not wait:
            note("then give this command again: it gives the new member its vote")
            return
        _wait(membership, replica, seconds)
        members = etcd.members()
        say(f"{replica.name} is a member of etcd with a vote")
        refresh_settings(Machine(root), members, say)
        note(_how_many(len(voters(members)), may_fail(members)))


def _promoted_already(membership: Membership, replica: Replica, etcd: EtcdAdmin) -> bool:
    """A learner that has joined since the line was printed needs no new one."""
    from fleetctl.founding.membership import find

    there = find(etcd.members(), replica)
    if there is None or not there.learner or not there.answers:
        return False
    _wait(membership, replica, 30.0)
    return True


def _wait(membership: Membership, replica: Replica, seconds: float) -> None:
    said = ""

    def waiting(why: str) -> None:
        nonlocal said
        if why != said:
            note(f"waiting: {why}")
            said = why

    membership.promote(replica, seconds, waiting)


def _how_many(members: int, spare: int) -> str:
    if spare > 0:
        return f"{members} members: any {spare} may fail"
    return f"{members} members, none of which may fail: add another"
