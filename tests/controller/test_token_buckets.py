"""How fast many may go on, each for itself."""

from __future__ import annotations

from fleet_controller.token_bucket import Rate, TokenBuckets

RATE = Rate(per_second=1.0, burst=2)


def test_each_name_has_its_own() -> None:
    buckets = TokenBuckets(RATE)
    assert [buckets.take("a", 0.0) for _ in range(3)] == [0.0, 0.0, 1.0]
    assert buckets.take("b", 0.0) == 0.0
    assert buckets.due_in("a", 0.5) == 0.5 and buckets.due_in("c", 0.5) == 0.0


def test_names_that_somebody_makes_up_are_forgotten() -> None:
    buckets = TokenBuckets(RATE)
    for number in range(100_000):
        buckets.take(str(number), number / 1000.0)
    assert len(buckets) < 20_000
    buckets.take("100000", 100.0)
    buckets.take("100000", 100.0)
    assert buckets.take("100000", 100.0) == 1.0, "who has something spent is not"
