"""The agent's gRPC service: who may call, and what refusals look like on the wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import NoReturn, cast

import grpc

from fleet.service import Context
from fleet.transport import Refusal, Role, abort, peer_of
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet_agent.api import doctor as doctor_api
from fleet_agent.api import images as images_api
from fleet_agent.api.console import BadConsoleInput, ConsoleRpc
from fleet_agent.api.console_sessions import Desk, TooManyReaders
from fleet_agent.api.not_offered import RpcsNotOffered, not_offered
from fleet_agent.api.shared_samples import Sampling
from fleet_agent.api.top import TopRpc
from fleet_agent.core.assignment import BadAssignment, Order, order_of
from fleet_agent.dom0.doctor import Doctor
from fleet_agent.drivers.ports.consoles import Consoles, NoSuchVm
from fleet_agent.drivers.ports.images import Images
from fleet_agent.drivers.ports.vms import DriverError
from fleet_agent.reconcile.agent import Agent
from fleet_agent.reconcile.fencing import StaleEpoch, StaleTerm, WrongHost
from fleet_agent.reconcile.ledger import LedgerError, LedgerFull
from fleet_agent.reporting.report_stream import Pace, Reports

# What each refusal of the agent is on the wire.
_REASONS: tuple[tuple[type[Exception], grpc.StatusCode, str], ...] = (
    (StaleTerm, grpc.StatusCode.FAILED_PRECONDITION, "STALE_TERM"),
    (StaleEpoch, grpc.StatusCode.FAILED_PRECONDITION, "STALE_EPOCH"),
    (WrongHost, grpc.StatusCode.FAILED_PRECONDITION, "WRONG_HOST"),
    (BadAssignment, grpc.StatusCode.INVALID_ARGUMENT, "BAD_ASSIGNMENT"),
    (LedgerFull, grpc.StatusCode.UNAVAILABLE, "LEDGER_FULL"),
    (LedgerError, grpc.StatusCode.UNAVAILABLE, "LEDGER_FAILED"),
    (NoSuchVm, grpc.StatusCode.NOT_FOUND, "NO_SUCH_VM"),
    (BadConsoleInput, grpc.StatusCode.INVALID_ARGUMENT, "BAD_CONSOLE_INPUT"),
    (TooManyReaders, grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_READERS"),
    (DriverError, grpc.StatusCode.UNAVAILABLE, "DRIVER_FAILED"),
)
_REFUSED = tuple(kind for kind, _, _ in _REASONS)


class AgentApi(RpcsNotOffered):
    """Translates; decides nothing but who may call."""

    def __init__(
        self,
        agent: Agent,
        *,
        consoles: Consoles | None = None,
        sampling: Sampling | None = None,
        doctor: Doctor | None = None,
        images: Images | None = None,
    ) -> None:
        """Calls for which there is nothing answer UNIMPLEMENTED."""
        self._agent = agent
        self._console = ConsoleRpc(Desk(consoles), self._heard) if consoles else None
        self._top = TopRpc(sampling) if sampling else None
        self._doctor = doctor
        self._images = images

    async def Describe(
        self, request: wire.DescribeRequest, context: Context
    ) -> wire.DescribeResponse:
        await _check_caller(context)
        agent = self._agent
        try:
            await agent.heard(order_of(request.term))
        except _REFUSED as error:
            await _refuse(context, error)
        return wire.DescribeResponse(
            host_id=agent.host_id,
            facts=agent.facts,
            epoch=_epoch(agent.epoch),
            term=types.Term(store_generation=agent.term[0], revision=agent.term[1]),
        )

    async def Assign(self, request: wire.AssignRequest, context: Context) -> wire.AssignResponse:
        await _check_caller(context)
        try:
            return wire.AssignResponse(epoch=_epoch(await self._agent.assign(request)))
        except _REFUSED as error:
            await _refuse(context, error)

    # grpc.aio also takes a coroutine that writes; the generated signature knows generators only.
    async def Watch(  # type: ignore[override]
        self, request_iterator: AsyncIterator[wire.WatchRequest], context: Context
    ) -> None:
        """Reads the pace in a task beside the reports, so that neither waits for the other."""
        await _check_caller(context)
        first = await anext(aiter(request_iterator), None)
        if first is None:
            return
        reports = await self._opened(first, context)
        try:
            async with asyncio.TaskGroup() as group:
                following = group.create_task(_follow_pace(request_iterator, reports))
                await _send(reports, context)
                following.cancel()
        finally:
            self._agent.close_reports(reports)
        if not first.observe and order_of(first.term) < self._agent.term:
            await _refuse(context, StaleTerm("a newer leader watches this host"))

    async def _opened(self, first: wire.WatchRequest, context: Context) -> Reports:
        if first.observe:
            return self._agent.open_observation(Pace.of(first.pace))
        term = order_of(first.term)
        try:
            await self._agent.heard(term)
        except _REFUSED as error:
            await _refuse(context, error)
        return self._agent.open_reports(term, Pace.of(first.pace))

    # As Watch.
    async def Console(  # type: ignore[override]
        self, request_iterator: AsyncIterator[wire.ConsoleInput], context: Context
    ) -> None:
        await _check_caller(context)
        if self._console is None:
            await not_offered(context, "Console")
        try:
            await self._console.serve(request_iterator, context)
        except _REFUSED as error:
            await _refuse(context, error)

    async def Top(  # type: ignore[override]
        self, request: wire.TopRequest, context: Context
    ) -> None:
        await _check_caller(context)
        if self._top is None:
            await not_offered(context, "Top")
        try:
            await self._top.serve(request, context)
        except _REFUSED as error:
            await _refuse(context, error)

    async def _heard(self, term: Order) -> None:
        await self._agent.heard(term)

    async def Doctor(self, request: wire.DoctorRequest, context: Context) -> wire.DoctorResponse:
        await _check_caller(context)
        if self._doctor is None:
            await not_offered(context, "Doctor")
        try:
            return await doctor_api.examine(self._doctor, request)
        except doctor_api.Refused as error:
            await abort(context, error.refusal)

    async def Tune(self, request: wire.TuneRequest, context: Context) -> wire.TuneResponse:
        await _check_caller(context)
        if self._doctor is None:
            await not_offered(context, "Tune")
        try:
            if doctor_api.changes_something(request):
                await self._agent.heard(order_of(request.term))
            return await doctor_api.tune(self._doctor, request)
        except _REFUSED as error:
            await _refuse(context, error)
        except doctor_api.Refused as error:
            await abort(context, error.refusal)

    async def ListImages(
        self, request: wire.ListImagesRequest, context: Context
    ) -> wire.ListImagesResponse:
        images = await self._offered_images(context, "ListImages")
        try:
            return await images_api.listed(images, self._agent.fleet_names)
        except images_api.ERRORS as error:
            await abort(context, images_api.refusal_of(error))

    async def ImportImage(
        self, request: wire.ImportImageRequest, context: Context
    ) -> AsyncIterator[wire.ImportImageProgress]:
        images = await self._offered_images(context, "ImportImage")
        try:
            await self._agent.heard(order_of(request.term))
            async with aclosing(images_api.imported(images, request)) as importing:
                async for told in importing:
                    yield told
        except _REFUSED as error:
            await _refuse(context, error)
        except images_api.ERRORS as error:
            await abort(context, images_api.refusal_of(error))

    async def DeleteImage(
        self, request: wire.DeleteImageRequest, context: Context
    ) -> wire.DeleteImageResponse:
        images = await self._offered_images(context, "DeleteImage")
        try:
            await self._agent.heard(order_of(request.term))
            return await images_api.deleted(images, request)
        except _REFUSED as error:
            await _refuse(context, error)
        except images_api.ERRORS as error:
            await abort(context, images_api.refusal_of(error))

    async def _offered_images(self, context: Context, rpc: str) -> Images:
        await _check_caller(context)
        if self._images is None:
            await not_offered(context, rpc)
        return self._images


async def _send(reports: Reports, context: Context) -> None:
    while (report := await reports.next()) is not None:
        await context.write(report)


async def _follow_pace(requests: AsyncIterator[wire.WatchRequest], reports: Reports) -> None:
    """Ends the reports when the reader has closed its side."""
    async for request in requests:
        reports.set_pace(Pace.of(request.pace))
    reports.close()


async def _check_caller(context: Context) -> None:
    peer = peer_of(cast(Mapping[str, list[bytes]], context.auth_context()))
    if peer is None or peer.role is not Role.CONTROLLER:
        who = peer or "a caller without a fleet certificate"
        message = f"{who} may not command an agent; only controllers may"
        await abort(context, Refusal(grpc.StatusCode.PERMISSION_DENIED, "NOT_ALLOWED", message))


async def _refuse(context: Context, error: Exception) -> NoReturn:
    for kind, code, reason in _REASONS:
        if isinstance(error, kind):
            await abort(context, Refusal(code, reason, str(error)))
    raise error


def _epoch(order: Order) -> types.Epoch:
    return types.Epoch(store_generation=order[0], revision=order[1])
