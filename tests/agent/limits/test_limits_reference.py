"""The reference of a dom0's limits says what the table does."""

from __future__ import annotations

from pathlib import Path

from fleet_agent.core.limits.table import BY_NAME, LIMITS
from fleet_agent.dom0.limits_reference import PAGE, page

FOLDER = Path(__file__).parents[3] / "docs" / "reference"


def test_the_reference_is_current() -> None:
    assert (FOLDER / PAGE).read_text() == page(), (
        "run: python -m fleet_agent.limits_reference docs/reference"
    )


def test_every_limit_is_named_once_with_a_title_and_a_source() -> None:
    assert len(BY_NAME) == len(LIMITS)
    for one in LIMITS:
        assert f"| `{one.name}` |" in page()
        assert one.title and one.source
