"""Certificates of hosts that are renewed, under the real leader, in virtual time."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet.certificates.certificate import read_certificate
from fleet.certificates.signing_request import make_request, new_key
from fleet.peers import holder_of
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import joining_pb2 as joining
from fleet.v1 import types_pb2 as types
from fleet_controller.core.refusals import Refused
from fleet_controller.replica.leader import Leader
from tests.in_process.joining_machines import scenes


def test_a_certificate_is_renewed_for_its_own_name_alone(tmp_path: Path) -> None:
    async def scene(leader: Leader) -> None:
        def asked(host: str) -> joining.RenewRequest:
            clock = leader.memory.events.now()
            signing = make_request(host, new_key())
            return joining.RenewRequest(signing_request=signing, clock_unix=clock)

        answer = leader.renewals.renew("h1", asked("h1"))
        assert str(holder_of(read_certificate(answer.certificates))) == "agent/h1"
        with pytest.raises(Refused, match="h1 asks for a certificate of h2"):
            leader.renewals.renew("h1", asked("h2"))
        with pytest.raises(Refused, match="cannot be read"):
            leader.renewals.renew("h1", joining.RenewRequest(signing_request=b"x"))
        for _ in range(7):
            leader.renewals.renew("h1", asked("h1"))
        with pytest.raises(Refused, match="renews its certificate too often"):
            leader.renewals.renew("h1", asked("h1"))

    scenes(tmp_path, scene)


def test_hosts_that_hold_other_certificates_than_they_are_to_are_counted(tmp_path: Path) -> None:
    async def scene(leader: Leader) -> None:
        trust = leader.renewals.trust
        assert trust is not None
        former = joining.Trust(authorities=[bytes(32)], issuing=trust.issuing)
        for host, held in {"h1": trust, "h2": former, "h3": None}.items():
            await leader.announcements.announce(host, f"{host}:1", types.HostFacts())
            report = wire.Report(full=True, facts=types.HostFacts(trust=held))
            leader.memory.observed.reported(host, report, 0)
        assert leader.renewals.count_behind() == 1
        assert [leader.renewals.is_behind(host) for host in ("h1", "h2", "h3")] == [
            False, True, False,
        ], "an older agent does not say"  # fmt: skip

    scenes(tmp_path, scene)
