"""Images that a host fetched are kept by use, and go by age and for room; never with clones."""

from __future__ import annotations

from dataclasses import replace

from fleet_agent.core.fetched_images import (
    DAY,
    FETCHED,
    HeldImage,
    Keeping,
    last_uses,
    removals,
)
from fleet_agent.core.images import ImageName

NOW = 1000 * DAY
GIB = 1 << 30
NONE: frozenset[ImageName] = frozenset()


def image(name: str, days: float, **fields: object) -> HeldImage:
    """Last used so many days ago."""
    one = HeldImage(ImageName(name, "1"), FETCHED, 0, 10 * GIB, NOW - days * DAY)
    return replace(one, **fields)  # type: ignore[arg-type]


def removed(
    *images: HeldImage, assigned: frozenset[ImageName] = NONE, free: int = 50, days: float = 14
) -> list[str]:
    found = removals(images, assigned, 100 * GIB, free * GIB, NOW, Keeping(days))
    return [one.image.name for one in found]


def test_what_was_not_used_for_so_long_goes_the_longest_unused_first() -> None:
    assert removed(image("a", 15), image("b", 13), image("c", 40)) == ["c", "a"]


def test_what_has_clones_or_is_assigned_or_was_handed_in_here_stays_however_old() -> None:
    assert not removed(
        image("cloned", 99, clones=1),
        image("assigned", 99),
        image("pushed", 99, source="handed in by fleetctl"),
        image("made", 99, source=""),
        assigned=frozenset({ImageName("assigned", "1")}),
        free=1,
    )


def test_for_room_as_many_go_as_are_needed_and_none_that_was_used_today() -> None:
    images = image("a", 2), image("b", 3), image("c", 0.5)
    assert removed(*images, free=50) == []
    assert removed(*images, free=5) == ["b"]
    assert removed(*images, free=0) == ["b"]
    assert removed(image("a", 2, size=GIB), image("b", 3, size=GIB), free=5) == ["b", "a"]
    assert removed(image("c", 0.5), free=0) == []


def test_nothing_goes_where_images_are_kept_for_ever() -> None:
    assert removed(image("a", 999), free=0, days=0) == []


def test_an_image_counts_as_used_while_it_has_clones_and_from_when_it_came() -> None:
    new, cloned, old, assigned = (
        image("new", 0), image("cloned", 0, clones=3), image("old", 0), image("assigned", 0),
    )  # fmt: skip
    known = {one.image: 5.0 for one in (cloned, old, assigned)}
    uses = last_uses([new, cloned, old, assigned], frozenset({assigned.image}), known, 9.0)
    assert uses == {new.image: 9.0, cloned.image: 9.0, old.image: 5.0, assigned.image: 9.0}
    # A clock that was set back makes nothing older than it is.
    assert last_uses([old], NONE, {old.image: 50.0}, 9.0) == {old.image: 9.0}
