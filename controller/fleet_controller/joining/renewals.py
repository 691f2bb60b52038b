"""Certificates of hosts that are made anew before they end. Nothing is stored: whoever shows a
certificate that counts gets another one of the same name."""

from __future__ import annotations

from fleet.certificates.authorities import digest_of_trust
from fleet.certificates.signing_request import BadRequest, checked
from fleet.v1 import joining_pb2 as joining
from fleet_controller.core.joining.admission import check_clock
from fleet_controller.core.refusals import Reason, Refused
from fleet_controller.joining.join_rates import too_many
from fleet_controller.joining.joins import NO_KEY, issued
from fleet_controller.leader.environment import JoiningEnvironment
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.token_bucket import Rate, TokenBuckets

# An honest agent renews each third of its certificate's life, and a few times when an authority is
# replaced.
_RENEWALS = Rate(per_second=1 / 60, burst=10)


class Renewals:
    """Of one leadership."""

    def __init__(self, memory: LeaderMemory, around: JoiningEnvironment) -> None:
        self._memory = memory
        self._around = around
        self._issuer = around.issuer
        self._buckets = TokenBuckets(_RENEWALS)  # by host

    @property
    def trust(self) -> joining.Trust | None:
        """What hosts are to hold by now; None: nothing is renewed here."""
        return self._around.trust(len(self._memory.state.hosts))

    def is_behind(self, host_id: str) -> bool:
        """Whether the host was heard, and holds other certificates than it is to."""
        trust = self.trust
        held = self._memory.observed.host(host_id).trust
        return trust is not None and bool(held) and held != digest_of_trust(trust)

    def count_behind(self) -> int:
        trust = self.trust
        if trust is None:
            return 0
        wanted, hosts = digest_of_trust(trust), self._memory.state.hosts
        seen = self._memory.observed.hosts.items()
        return sum(1 for host, one in seen if one.trust not in (b"", wanted) and host in hosts)

    def renew(self, host_id: str, request: joining.RenewRequest) -> joining.RenewResponse:
        """Raises Refused."""
        if self._issuer is None:
            raise Refused(Reason.NO_ISSUING_KEY, NO_KEY)
        self._check_rate(host_id)
        try:
            asked = checked(request.signing_request)
        except BadRequest as error:
            raise Refused(Reason.BAD_REQUEST, str(error)) from error
        if asked.host != host_id:
            raise Refused(
                Reason.BAD_REQUEST, f"{host_id} asks for a certificate of {asked.host}: of its own"
            )
        now = self._memory.events.now()
        check_clock(host_id, request.clock_unix, now)
        made = issued(self._issuer, asked, now)
        return joining.RenewResponse(certificates=made, authorities=self._issuer.authorities)

    def _check_rate(self, host_id: str) -> None:
        if wait := self._buckets.take(host_id, self._memory.clock()):
            raise too_many(f"host {host_id} renews its certificate too often", wait)
