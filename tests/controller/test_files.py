"""Callers cannot take the descriptors of links, of the store and of logs."""

from __future__ import annotations

import pytest

from fleet_controller.files import Files, FilesTooFew, divided


@pytest.mark.parametrize(
    ("files", "links", "callers"),
    [(257, 1, 192), (1_024, 768, 192), (4_096, 3_008, 1_024), (1_048_576, 1_028_512, 20_000)],
)
def test_links_callers_and_the_rest_have_their_own(files: int, links: int, callers: int) -> None:
    assert divided(files) == Files(links, callers)


def test_too_few_for_any_link_are_refused() -> None:
    with pytest.raises(FilesTooFew, match="needs 256 and one for each host"):
        divided(256)
