"""New certificates of the control plane wait for no controller: etcd may have no quorum before the
other machines have theirs."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetctl.commands.founding.renew import _renew_here
from fleetctl.founding import installing, units
from fleetctl.founding.founder import Founder
from fleetctl.founding.invitation import Invitation
from fleetctl.founding.machine import Machine
from fleetctl.founding.replica import Replica


def test_what_was_renewed_is_told_without_waiting_for_the_controller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    founder, machine = Founder(tmp_path / "operator"), Machine(tmp_path / "c1")
    founder.make("alice")
    replica = Replica("c1", "192.0.2.1")
    identities = founder.identities(replica)
    installing.install(machine, Invitation(replica, identities, founder.issuing_key(), {}, ()))
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(units, "has_systemd", lambda machine: True)
    monkeypatch.setattr(units, "systemctl", lambda *words: asked.append(words))
    made = _renew_here(founder, machine)
    assert made[-1] == "the controller here is restarted with it"
    assert asked[-1] == ("restart", "--no-block", "fleet-controller")
