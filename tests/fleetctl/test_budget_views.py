"""What fleetctl shows of disruption budgets, and what it refuses of drains."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from fleet.v1 import cluster_pb2 as cluster
from fleetctl.main import cli
from fleetctl.outcome import Misuse
from fleetctl.views.fleets.budgets import budget_json, budget_lines, budget_text
from fleetctl.views.hosts.drains import drain_detail_text, draining_json

USED = cluster.BudgetStatus(
    fleet="spv", at_most=50, down=50, per_minute=200, begun=120, waiting=890, to_restart=940,
    message="890 VMs wait: 50 are down, and the budget is 50 at once",
)  # fmt: skip


def test_a_budget_in_use_is_a_line_of_status() -> None:
    idle = cluster.BudgetStatus(fleet="web", at_most=3)
    response = cluster.StatusResponse(budgets=[USED, idle], more_budgets=4)
    assert list(budget_lines(response)) == [
        "spv: 50 of 50 down, 120 of 200 begun anew in a minute; 940 VMs to restart; "
        "890 VMs wait: 50 are down, and the budget is 50 at once",
        "4 more fleets with a budget: 'fleetctl fleets -o json'",
    ]
    assert budget_text(idle) == "0 of 3 down"
    told = budget_json(idle)
    assert (told["per_minute"], told["message"], told["waiting"]) == (None, None, 0)


def test_a_host_tells_its_drains_deadline_and_what_comes_then() -> None:
    summary = cluster.HostSummary(
        id="h1", drain_until_unix=60.0, drain_then=cluster.DRAIN_THEN_FORCE,
        drain_ignores_budget=True,
    )  # fmt: skip
    detail = cluster.HostDetail(summary=summary, drain=cluster.DrainProgress(left=3))
    assert drain_detail_text(detail) == (
        "3 left; until 1970-01-01 00:01 UTC, then force; heeds no disruption budget"
    )
    told = draining_json(detail)
    assert told is not None
    assert (told["until"], told["then"], told["ignores_budget"]) == (60.0, "force", True)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("hosts drain h1 --then force", "give one"),
        ("hosts drain h1 --deadline 30m --cancel", "go with neither"),
        ("hosts drain h1 --ignore-budget --plan", "go with neither"),
        ("vms restart spv --cancel --all", "takes a fleet alone"),
    ],
)
def test_what_contradicts_itself_is_refused_before_anything_is_asked(words: str, why: str) -> None:
    ended = CliRunner().invoke(cli, words.split())
    assert isinstance(ended.exception, Misuse | SystemExit)
    assert why in str(ended.output) + str(ended.exception)
