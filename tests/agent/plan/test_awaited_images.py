"""VMs whose image is on its way wait for it; where none comes they fail as ever."""

from __future__ import annotations

from fleet.v1 import types_pb2 as types
from fleet_agent.core.assignment import Assignment, parse_assignment
from fleet_agent.core.images import ImageName
from fleet_agent.core.plan.awaited_images import GRACE_SECONDS, AwaitedImages
from tests.doubles.assignments import assignment, shard

GOLDEN = ImageName("golden", "1")
NONE = types.ImagesHeld()
HELD = types.ImagesHeld(images=[types.Image(name="golden", snapshot="1")])


def wanted(*, local_only: bool = False) -> Assignment:
    message = assignment(shard("0-2", 10))
    message.specs[0].spec.image.CopyFrom(
        types.Image(name="golden", snapshot="1", local_only=local_only)
    )
    return parse_assignment(message)


def waiting(awaited: AwaitedImages, now: float, assigned: Assignment | None = None) -> int:
    return len(awaited.kins(assigned or wanted(), now)[0])


def test_vms_wait_for_an_image_that_is_not_here_until_it_should_have_begun_to_come() -> None:
    awaited = AwaitedImages(NONE)
    kins, left = awaited.kins(wanted(), 5.0)
    assert len(kins) == 1 and left == GRACE_SECONDS
    assert waiting(awaited, 5.0 + GRACE_SECONDS - 1)
    assert not waiting(awaited, 5.0 + GRACE_SECONDS)


def test_vms_wait_for_as_long_as_it_comes() -> None:
    awaited = AwaitedImages(NONE, frozenset({GOLDEN}))
    assert waiting(awaited, 0.0)
    kins, left = awaited.kins(wanted(), 1000.0)
    assert kins and left is None


def test_nothing_waits_for_what_is_here_or_is_not_told_or_may_not_be_fetched() -> None:
    assert not waiting(AwaitedImages(HELD), 0.0)
    assert not waiting(AwaitedImages(None), 0.0)
    assert not waiting(AwaitedImages(types.ImagesHeld(more=True)), 0.0)
    assert not waiting(AwaitedImages(NONE), 0.0, wanted(local_only=True))


def test_an_image_that_is_lost_again_is_waited_for_anew() -> None:
    awaited = AwaitedImages(NONE)
    waiting(awaited, 0.0)
    awaited.held = HELD
    assert not waiting(awaited, 100.0)
    awaited.held = NONE
    assert waiting(awaited, 200.0)
