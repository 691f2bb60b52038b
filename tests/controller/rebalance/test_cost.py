"""What a plan costs follows hosts, never VMs. The figure itself is of `make bench`."""

from __future__ import annotations

import time

from tests.bench.rebalances import grown_cluster, seconds_of_a_plan

FLEETS, HOSTS, NEW = 4, 560, 56


def cpu_seconds(vms: int) -> float:
    """Of the quickest of three."""
    memory = grown_cluster(FLEETS, HOSTS, NEW, vms)

    def once() -> float:
        began = time.process_time()
        seconds_of_a_plan(memory)
        return time.process_time() - began

    return min(once() for _ in range(3))


def test_ten_times_the_vms_cost_no_more_than_twice_as_much() -> None:
    assert cpu_seconds(120_000) < 2.0 * cpu_seconds(12_000) + 0.05


def test_an_eighth_of_the_hosts_is_planned_in_an_eighth_of_the_time() -> None:
    assert cpu_seconds(120_000) < 2.0 / 8
