"""deploy/monitoring is true: rules, their tests, the scrape configuration, the dashboard, the
document."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from prometheus_client import CollectorRegistry

from fleet.v1 import cluster_pb2 as cluster
from fleet_agent.core.model import StepFailure, StepKind
from fleet_agent.metrics.host_metrics import HostsSample, Room, host_metrics
from fleet_agent.metrics.step_counters import StepCounters
from fleet_controller.metrics.replica_metrics import replica_metrics
from fleet_controller.metrics.scale_durations import ScaleDurations
from fleet_controller.metrics.snapshot import ClusterSample, HostSample, Snapshot
from fleet_controller.store.health import NEARLY_FULL, MemberHealth, StoreHealth
from fleetctl.views.cluster.health_check import CRITICAL_SECONDS, CRITICAL_SHARE, WARNING_SECONDS
from tests.shared.test_documents import _anchors

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "deploy" / "monitoring"
RULES = MONITORING / "rules"
DOCUMENT = (ROOT / "docs" / "monitoring.md").read_text()

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="needs promtool: Debian's package prometheus"
)


def rules() -> list[dict[str, Any]]:
    read = yaml.safe_load((RULES / "megafleet.rules.yml").read_text())
    return [rule for group in read["groups"] for rule in group["rules"]]


ALARMS = [rule for rule in rules() if "alert" in rule]
each_alarm = pytest.mark.parametrize("alarm", ALARMS, ids=lambda alarm: str(alarm["alert"]))


def families() -> set[str]:
    """Every metric that controllers and agents can tell, without what counters and histograms
    have at their ends."""
    fleet = cluster.FleetStatus(fleet="spv", rollout=cluster.RolloutStatus(state="halted"))
    status = cluster.StatusResponse(fleets=[fleet])
    host = HostSample("h1", True, 1.0, 1)
    store = StoreHealth((MemberHealth("e", "a:1", used=1, quota=2),), 0.1)
    sample = ClusterSample(status, 1, {"1": 1}, 1, (host,), 0.1)
    snapshot = Snapshot("c", "1", True, 1, {"authority": 1}, store, 1.0, {"a": 1}, 1.0, sample)
    agent = HostsSample(1, "1", {"running": 1}, 1, 1, 0, 1, Room(2, 1), Room(2, 1))
    registry = CollectorRegistry()
    ScaleDurations(registry, lambda: 0.0)
    counters = StepCounters(registry)
    counters.failed(StepKind.START, [StepFailure(1, "no_memory", "")])
    told = [*replica_metrics(snapshot), *host_metrics(agent), *registry.collect()]
    return {one.name for one in told}


def named(text: str) -> set[str]:
    """Metrics in an expression, without those ends."""
    found = re.findall(r"\bmegafleet_[a-z_]+\b", text)
    return {re.sub(r"_(total|bucket|count|sum)$", "", name) for name in found}


def dashboard_expressions() -> Iterator[str]:
    board = json.loads((MONITORING / "dashboard.json").read_text())
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            yield target["expr"]


@each_alarm
def test_an_alarm_says_what_it_means_and_which_chapter_to_open(alarm: dict[str, Any]) -> None:
    notes = alarm["annotations"]
    assert notes["summary"] and notes["meaning"]
    path, _, anchor = notes["chapter"].partition("#")
    assert path == "docs/operations.md"
    assert anchor in _anchors(ROOT / path)
    assert alarm["labels"]["severity"] in ("page", "ticket")


@each_alarm
def test_an_alarm_is_tested_to_fire_and_to_be_silent(alarm: dict[str, Any]) -> None:
    about = f'alertname="{alarm["alert"]}"'
    looks = [
        look
        for file in RULES.glob("*.test.yml")
        for test in yaml.safe_load(file.read_text())["tests"]
        for look in test["promql_expr_test"]
        if about in look["expr"]
    ]
    assert any(look["exp_samples"] for look in looks)
    assert any(not look["exp_samples"] for look in looks)


@needs_promtool
def test_rules_hold_what_their_tests_say() -> None:
    tests = sorted(one.name for one in RULES.glob("*.test.yml"))
    assert tests
    done = subprocess.run(
        ["promtool", "test", "rules", *tests],
        cwd=RULES,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_prometheus_takes_the_configuration_and_the_rules() -> None:
    done = subprocess.run(
        ["promtool", "check", "config", "prometheus.yml"],
        cwd=MONITORING, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_rules_and_dashboard_name_metrics_that_there_are() -> None:
    asked = [rule["expr"] for rule in rules()] + list(dashboard_expressions())
    assert len(asked) > 40
    assert named(" ".join(asked)) <= families()


def thresholds() -> list[dict[str, str]]:
    """The rows of the table, by its heads."""
    _, _, rest = DOCUMENT.partition("## Thresholds")
    lines = [line for line in rest.partition("\n## ")[0].splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]


def test_every_alarm_has_its_bound_and_patience_in_the_one_table() -> None:
    rows = {f"Megafleet{row['alarm'].strip('`')}": row for row in thresholds() if row["alarm"]}
    assert rows.keys() == {alarm["alert"] for alarm in ALARMS}
    for alarm in ALARMS:
        row = rows[alarm["alert"]]
        assert row["for"] == alarm.get("for", ""), alarm["alert"]
        if row["bound"] != "none":
            sign, number, *unit = row["bound"].split()
            sign = {"=": "=="}.get(sign, sign)
            scale = {"%": f"{int(number) / 100:g}", "d": f"{number} * 86400"}
            bound = f"{sign} {scale[unit[0]] if unit else number}"
            assert bound in " ".join(alarm["expr"].split()), alarm["alert"]


def test_the_bounds_of_checks_are_those_in_the_one_table() -> None:
    rows = {row["what"]: (row["check: WARNING"], row["check: CRITICAL"]) for row in thresholds()}
    shares = [critical for _, critical in rows.values() if critical.endswith("%")]
    assert shares == [f"{CRITICAL_SHARE:.0%}".replace("%", " %")] * 4
    days = tuple(f"{seconds // 86_400} d" for seconds in (WARNING_SECONDS, CRITICAL_SECONDS))
    assert rows["until a certificate ends"] == days
    assert rows["space used of a member"] == (f"{NEARLY_FULL:.0%}".replace("%", " %"), "")


def test_what_the_dashboard_takes_from_rules_is_recorded() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    asked = " ".join([*dashboard_expressions(), *(rule["expr"] for rule in ALARMS)])
    assert set(re.findall(r"megafleet:[a-z_]+:[a-z]+", asked)) <= recorded


def test_the_dashboard_is_what_its_program_makes() -> None:
    program = [sys.executable, str(MONITORING / "dashboard.py"), "--check"]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_the_dashboard_is_one_by_grafanas_schema() -> None:
    text = (MONITORING / "dashboard.json").read_text()
    read = Dashboard.from_json(json.loads(text))
    assert JSONEncoder(sort_keys=True, indent=2).encode(read) + "\n" == text


def test_the_document_tells_every_metric_and_every_alarm() -> None:
    told = set(re.findall(r"`(megafleet_[a-z_]+)", DOCUMENT))
    told = {re.sub(r"_total$", "", name) for name in told}
    assert families() == told
    assert {alarm["alert"] for alarm in ALARMS} == set(re.findall(r"`(Megafleet\w+)`", DOCUMENT))
