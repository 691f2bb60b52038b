"""What operators ask of one host: doctor, tuning, golden images.

Every change carries the term and leaves an event with the name of the caller.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from fleet.v1 import agent_pb2 as wire
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from fleet_controller.agents.port import NoAnswer
from fleet_controller.core.names import one_line
from fleet_controller.core.refusals import Reason, Refused
from fleet_controller.relay.paced import Paced, ReadPace
from fleet_controller.relay.relay import Relay

# Seconds. Some of what doctor and tune read and write takes seconds on a dom0 that is busy.
ANSWER_SECONDS = 60.0
# An import may take hours, and says how far it is.
IMPORT_SILENCE_SECONDS = 120.0
_IMPORT_PACE = ReadPace(50)
# A path in Linux; more than any agent takes for a name.
_LONGEST_TEXT = 4096

Tell = Callable[[wire.ImportImageProgress], Awaitable[None]]


async def doctor(
    relay: Relay, request: cluster.HostDoctorRequest, seconds: float
) -> wire.DoctorResponse:
    host_id = relay.host(request.host)
    asked = wire.DoctorRequest(term=relay.term, guests=request.guests)
    with relay.answering(host_id, "doctor"):
        return await relay.questions(host_id).doctor(asked, seconds)


async def list_images(relay: Relay, host_id: str, seconds: float) -> wire.ListImagesResponse:
    with relay.answering(host_id, "listing of images"):
        return await relay.questions(host_id).list_images(wire.ListImagesRequest(), seconds)


async def tune(
    relay: Relay, request: cluster.HostTuneRequest, seconds: float, actor: str
) -> wire.TuneResponse:
    if request.apply and request.undo:
        raise Refused(Reason.BAD_QUERY, "tuning is applied or undone, not both at once")
    host_id = relay.host(request.host)
    questions = relay.questions(host_id)
    asked = wire.TuneRequest(
        term=relay.term, apply=request.apply, undo=request.undo, guests=request.guests
    )
    if not request.apply and not request.undo:
        with relay.answering(host_id, "tuning"):
            return await questions.tune(asked, seconds)
    what = "undoing of the tuning" if request.undo else "tuning"
    with relay.changing(host_id, "host_tuned", what, actor):
        answer = await questions.tune(asked, seconds)
    done = sum(change.done for change in answer.changes)
    relay.event("host_tuned", f"{host_id}: {what}: {done} changes made", host_id, actor)
    return answer


async def delete_image(
    relay: Relay, request: cluster.HostDeleteImageRequest, seconds: float, actor: str
) -> wire.DeleteImageResponse:
    host_id, image = relay.host(request.host), _named(request.image)
    questions = relay.questions(host_id)
    asked = wire.DeleteImageRequest(term=relay.term, image=request.image)
    with relay.changing(host_id, "image_deleted", f"deletion of image {image}", actor):
        answer = await questions.delete_image(asked, seconds)
    relay.event("image_deleted", f"{host_id}: image {image} is deleted", host_id, actor)
    return answer


async def import_image(
    relay: Relay, request: cluster.HostImportImageRequest, tell: Tell, actor: str
) -> None:
    """Each progress is sent on, the image with the last one. Whoever asked may go as soon as they
    have it: that it is there is an event before they are told, and VMs of it may be placed."""
    host_id, image = relay.host(request.host), _named(request.image)
    if len(request.source) > _LONGEST_TEXT:
        raise Refused(Reason.BAD_QUERY, f"a source has at most {_LONGEST_TEXT:,} characters")
    questions = relay.questions(host_id)
    asked = wire.ImportImageRequest(
        term=relay.term, image=request.image, source=request.source, size_bytes=request.size_bytes
    )
    with relay.changing(host_id, "image_imported", f"import of image {image}", actor):
        made = await _followed(Paced(questions.import_image(asked), _IMPORT_PACE), tell)
        if made is None:
            message = f"host {host_id} ended the import of {image} without an image"
            raise Refused(Reason.HOST_UNREACHABLE, message)
    relay.event("image_imported", f"{host_id}: image {image} is imported", host_id, actor)
    await relay.placeable(host_id, made.image)
    await tell(made)


async def _followed(
    answers: Paced[wire.ImportImageProgress], tell: Tell
) -> wire.ImportImageProgress | None:
    """The one that holds the image, which is the last and not told yet; None where the agent ends
    without one. Raises NoAnswer for an agent that falls silent."""
    try:
        while (progress := await _next(answers)) is not None:
            if progress.HasField("image"):
                return progress
            await tell(progress)
    finally:
        answers.cancel()
    return None


async def _next(
    answers: Paced[wire.ImportImageProgress],
) -> wire.ImportImageProgress | None:
    try:
        async with asyncio.timeout(IMPORT_SILENCE_SECONDS):
            return await answers.read()
    except TimeoutError as error:
        raise NoAnswer(f"silent for {IMPORT_SILENCE_SECONDS:g} s") from error


def _named(image: types.Image) -> str:
    """For people. Raises Refused for a name that no agent can take."""
    if not image.name or max(map(len, (image.name, image.snapshot))) > _LONGEST_TEXT:
        raise Refused(Reason.BAD_QUERY, "an image needs a name, of at most 4,096 characters")
    text = f"{image.name}@{image.snapshot}" if image.snapshot else image.name
    return one_line(text, 120)
