"""A host that is distrusted is made to obey this store's leader, by an operator's word."""

from __future__ import annotations

from fleet.v1 import agent_pb2 as wire
from fleet_controller.agents.links import Links
from fleet_controller.agents.port import AgentDialer, LinkError
from fleet_controller.core.hosts import out_of_reach
from fleet_controller.core.model import NOTHING
from fleet_controller.core.refusals import expelled
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.leader.writer import ChangeWriter
from fleet_controller.mirror.records import Write, put_assignment

_ANSWER_SECONDS = 20.0


class HostReset:
    """Of one leadership."""

    def __init__(
        self, memory: LeaderMemory, writer: ChangeWriter, dialer: AgentDialer, links: Links
    ) -> None:
        self._memory = memory
        self._writer = writer
        self._dialer = dialer
        self._links = links

    async def reset(self, host_id: str, actor: str) -> None:
        """Have its agent forget the term and the epoch that it claims, and tell it what the store
        has for it. What it ran besides becomes orphans. Raises Refused, StoreError."""
        address, claims = self._memory.host(host_id).address, self._memory.unproven.why(host_id)

        if self._memory.is_expelled(host_id):
            raise expelled(host_id)

        async def may_be() -> None:
            self._memory.host(host_id)  # it may have been removed while others had their turn

        async def once() -> None:
            await may_be()
            writes: list[Write] = []
            if host_id not in self._memory.state.assignments:
                writes.append(put_assignment(host_id, NOTHING))
            line = self._writer.audited("reset_host", actor, host=host_id, before=claims)
            await self._writer.write_one([*writes, line])

        await self._writer.decide(may_be)
        # Others change what they like meanwhile: it may be long in answering, or never do.
        await self._ask(host_id, address)
        await self._writer.decide(once)
        text = f"{host_id} was reset: it obeys this store's leader from now on"
        self._memory.events.add("host_reset", text, host=host_id, actor=actor)
        self._links.push(host_id)
        self._links.redial(host_id)

    async def _ask(self, host_id: str, address: str) -> None:
        """On a connection of its own: a host that refuses the term has none. Raises Refused."""
        try:
            connection = self._dialer.connect(host_id, address)
            try:
                request = wire.ResetRequest(term=self._memory.term, host_id=host_id)
                await connection.reset(request, _ANSWER_SECONDS)
            finally:
                await connection.close()
        except LinkError as error:
            raise out_of_reach(host_id, self._memory.links.age(host_id), str(error)) from error
