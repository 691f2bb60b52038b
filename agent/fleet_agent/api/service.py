"""The agent's gRPC service: each RPC translated, and handed on to what does it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import TypeVar

from fleet.keys import Term
from fleet.service import Context
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import commands_pb2 as commands_wire
from fleet.v1 import copies_pb2 as copies_wire
from fleet.v1 import types_pb2 as types
from fleet.v1.agent_pb2_grpc import AgentServiceServicer
from fleet_agent.api import console, guest_commands
from fleet_agent.api import doctor as doctor_api
from fleet_agent.api import images as images_api
from fleet_agent.api import relay as relay_api
from fleet_agent.api.console_commands import ConsoleCommands
from fleet_agent.api.console_sessions import Desk
from fleet_agent.api.guard import (
    check_guards,
    commands,
    commands_by_stream,
    fences_itself,
    reads,
    serves_hosts,
)
from fleet_agent.api.guest_files import Copies
from fleet_agent.api.guest_files_out import FilesOut
from fleet_agent.api.refusals import NotOffered
from fleet_agent.api.shared_samples import Sampling
from fleet_agent.api.top import send_samples
from fleet_agent.controllers.grpc_client import Told, told_nobody
from fleet_agent.dom0.doctor import Doctor
from fleet_agent.drivers.ports.consoles import Consoles
from fleet_agent.drivers.ports.guest_commands import GuestAgents, GuestCommands
from fleet_agent.drivers.ports.guest_files import GuestFiles
from fleet_agent.drivers.ports.images import Images
from fleet_agent.image_relay.relays import ImageRelays
from fleet_agent.reconcile.agent import Agent
from fleet_agent.reconcile.fencing import StaleTerm
from fleet_agent.reporting.report_stream import Pace, ReportStream
from fleet_agent.upgrading.port import Upgrades

SERVICE = wire.DESCRIPTOR.services_by_name["AgentService"]
Part = TypeVar("Part")
# etcd's bound of a value, 1.5 MiB, bounds what is stored of an assignment; templates are added.
MAX_ASSIGNMENT_BYTES = 8 * 1024 * 1024
# Many ranges of VMs.
MAX_RUN_BYTES = 1024 * 1024


def _watches_to_command(first: wire.WatchRequest) -> bool:
    return not first.observe


class AgentApi(AgentServiceServicer):
    """Translates; decides nothing. Streams are written by coroutines, which grpc.aio takes as
    well; the generated signatures know generators only."""

    def __init__(
        self,
        agent: Agent,
        *,
        consoles: Consoles | None = None,
        sampling: Sampling | None = None,
        doctor: Doctor | None = None,
        images: Images | None = None,
        told: Told = told_nobody,
        relays: ImageRelays | None = None,
        upgrades: Upgrades | None = None,
        guest_commands: GuestCommands | None = None,
        guest_agents: GuestAgents | None = None,
        guest_files: GuestFiles | None = None,
    ) -> None:
        """`told`: hears where controllers say they are. `guest_commands`: without them commands go
        through `guest_agents` and consoles. RPCs for which there is nothing answer
        UNIMPLEMENTED. Raises TypeError for an RPC without its guard."""
        check_guards(self, SERVICE)
        self._agent = agent
        self._told = told
        self._desk = Desk(consoles) if consoles else None
        self._sampling = sampling
        self._doctor = doctor
        self._images = images
        self._relays = relays
        self._upgrades = upgrades
        if guest_commands is None and self._desk is not None:
            guest_commands = ConsoleCommands(self._desk, guest_agents)
        self._guest_commands = guest_commands
        self._copies = Copies(guest_files) if guest_files else None
        self._files_out = FilesOut(guest_files) if guest_files else None

    async def heard(self, term: types.Term) -> None:
        """Raises StaleTerm, LedgerError."""
        await self._agent.heard(term)

    @property
    def desk(self) -> Desk:
        return _offered(self._desk)

    @property
    def sampling(self) -> Sampling:
        return _offered(self._sampling)

    @property
    def doctor(self) -> Doctor:
        return _offered(self._doctor)

    @property
    def images(self) -> Images:
        return _offered(self._images)

    @property
    def relays(self) -> ImageRelays:
        return _offered(self._relays)

    @property
    def copies(self) -> Copies:
        return _offered(self._copies)

    @property
    def files_out(self) -> FilesOut:
        return _offered(self._files_out)

    @property
    def upgrades(self) -> Upgrades:
        return _offered(self._upgrades)

    @property
    def guest_commands(self) -> GuestCommands:
        return _offered(self._guest_commands)

    @commands()
    async def Describe(
        self, request: wire.DescribeRequest, context: Context
    ) -> wire.DescribeResponse:
        agent = self._agent
        return wire.DescribeResponse(
            host_id=agent.host_id,
            facts=agent.facts,
            epoch=agent.ledger_record.epoch_message(),
            term=agent.ledger_record.term_message(),
        )

    @fences_itself(max_bytes=MAX_ASSIGNMENT_BYTES)
    async def Assign(self, request: wire.AssignRequest, context: Context) -> wire.AssignResponse:
        return wire.AssignResponse(epoch=(await self._agent.assign(request)).message())

    @fences_itself()
    async def Reset(self, request: wire.ResetRequest, context: Context) -> wire.ResetResponse:
        return await self._agent.reset(request)

    @commands_by_stream(when=_watches_to_command, though_unwritten=True)
    async def Watch(  # type: ignore[override]
        self, first: wire.WatchRequest, rest: AsyncIterator[wire.WatchRequest], context: Context
    ) -> None:
        """Reads the pace in a task beside the reports, so that neither waits for the other."""
        term, pace = Term.of(first.term), Pace.of(first.pace)
        if first.observe:
            reports = self._agent.open_observation(pace)
        else:
            reports = self._agent.open_reports(term, pace)
        try:
            async with asyncio.TaskGroup() as group:
                self._hear(first)
                following = group.create_task(_follow_pace(rest, reports, self._hear))
                await _send(reports, context)
                following.cancel()
        finally:
            self._agent.close_reports(reports)
        if not first.observe and term < self._agent.term:
            raise StaleTerm(
                "a newer leader watches this host", self._agent.ledger_record.term_message()
            )

    def _hear(self, request: wire.WatchRequest) -> None:
        trust = request.trust if request.HasField("trust") else None
        if request.controllers or trust is not None:
            self._told(request.controllers, trust)

    @commands_by_stream(needs="desk", when=console.means_to_type)
    async def Console(  # type: ignore[override]
        self, first: wire.ConsoleInput, rest: AsyncIterator[wire.ConsoleInput], context: Context
    ) -> None:
        await console.serve(self.desk, first, rest, context)

    @reads(needs="sampling")
    async def Top(self, request: wire.TopRequest, context: Context) -> None:  # type: ignore[override]
        await send_samples(self.sampling, request, context)

    @reads(needs="doctor", any_term=True)
    async def Doctor(self, request: wire.DoctorRequest, context: Context) -> wire.DoctorResponse:
        return await doctor_api.examine(self.doctor, request)

    @commands(needs="doctor", when=doctor_api.changes_something)
    async def Tune(self, request: wire.TuneRequest, context: Context) -> wire.TuneResponse:
        return await doctor_api.tune(self.doctor, request)

    @reads(needs="images")
    async def ListImages(
        self, request: wire.ListImagesRequest, context: Context
    ) -> wire.ListImagesResponse:
        return await images_api.listed(self.images, self._agent.fleet_names)

    @commands(needs="images")
    async def ImportImage(  # type: ignore[override]
        self, request: wire.ImportImageRequest, context: Context
    ) -> None:
        async with aclosing(images_api.imported(self.images, request)) as importing:
            async for progress in importing:
                await context.write(progress)

    @commands(needs="images")
    async def DeleteImage(
        self, request: wire.DeleteImageRequest, context: Context
    ) -> wire.DeleteImageResponse:
        return await images_api.deleted(self.images, request)

    @serves_hosts(needs="relays")
    async def SendImage(  # type: ignore[override]
        self, request: wire.SendImageRequest, context: Context
    ) -> None:
        await relay_api.send(self.relays, request, context)

    @commands_by_stream(needs="relays")
    async def RelayImage(  # type: ignore[override]
        self, first: wire.RelayOrder, rest: AsyncIterator[wire.RelayOrder], context: Context
    ) -> None:
        relay_api.check_host(first.host_id, self._agent.host_id)
        await relay_api.relay(self.relays, first, rest, context)

    @commands_by_stream(needs="relays", max_bytes=relay_api.MAX_PUT_BYTES)
    async def PutImage(  # type: ignore[override]
        self,
        first: wire.PutImageRequest,
        rest: AsyncIterator[wire.PutImageRequest],
        context: Context,
    ) -> None:
        relay_api.check_host(first.host_id, self._agent.host_id)
        await relay_api.put(self.relays, first, rest, context)

    @commands(needs="upgrades")
    async def UpgradeAgent(
        self, request: wire.UpgradeAgentRequest, context: Context
    ) -> wire.UpgradeAgentResponse:
        relay_api.check_host(request.host_id, self._agent.host_id)
        await self.upgrades.upgrade(request.version)
        return wire.UpgradeAgentResponse(version=self.upgrades.version)

    @commands(needs="guest_commands", max_bytes=MAX_RUN_BYTES)
    async def RunInVms(  # type: ignore[override]
        self, request: commands_wire.RunInVmsRequest, context: Context
    ) -> None:
        relay_api.check_host(request.host_id, self._agent.host_id)
        await guest_commands.run(self.guest_commands, request, context)

    @commands_by_stream(needs="copies", max_bytes=MAX_RUN_BYTES)
    async def CopyIntoVms(  # type: ignore[override]
        self,
        first: copies_wire.CopyIntoVmsRequest,
        rest: AsyncIterator[copies_wire.CopyIntoVmsRequest],
        context: Context,
    ) -> None:
        relay_api.check_host(first.host_id, self._agent.host_id)
        await self.copies.serve(first, rest, context)

    @commands(needs="files_out", max_bytes=MAX_RUN_BYTES)
    async def CopyFromVms(  # type: ignore[override]
        self, request: copies_wire.CopyFromVmsRequest, context: Context
    ) -> None:
        relay_api.check_host(request.host_id, self._agent.host_id)
        await self.files_out.serve(request, context)


def _offered(part: Part | None) -> Part:
    if part is None:
        raise NotOffered
    return part


async def _send(reports: ReportStream, context: Context) -> None:
    while (report := await reports.next()) is not None:
        await context.write(report)


async def _follow_pace(
    requests: AsyncIterator[wire.WatchRequest],
    reports: ReportStream,
    hear: Callable[[wire.WatchRequest], None],
) -> None:
    """Ends the reports when the reader has closed its side."""
    async for request in requests:
        hear(request)
        reports.set_pace(Pace.of(request.pace))
    reports.close()
