"""Makes dashboard.json for Grafana, by its own SDK: `python deploy/monitoring/dashboard.py`.

With --check nothing is written; the exit status is 1 where the file is not what would be made.
"""

from __future__ import annotations

import sys
from pathlib import Path

from grafana_foundation_sdk.builders.common import ReduceDataOptions, VizLegendOptions
from grafana_foundation_sdk.builders.dashboard import Dashboard, DatasourceVariable, Row
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.builders.stat import Panel as Stat
from grafana_foundation_sdk.builders.timeseries import Panel as TimeSeries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement
from grafana_foundation_sdk.models.dashboard import DataSourceRef

FILE = Path(__file__).with_name("dashboard.json")
_SOURCE = DataSourceRef(type_val="prometheus", uid="${source}")
_HEIGHT = 8
_LAST = ReduceDataOptions().calcs(["lastNotNull"])
_LEGEND = VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)


def _nine_of_ten(buckets: str) -> str:
    return f"histogram_quantile(0.9, sum by (le) ({buckets}))"


# Title, what is asked, unit; then of lines what each is called.
_NUMBERS = (
    ("Wanted", "sum(megafleet:fleet_wanted_vms:count)", "short"),
    ("Running", 'sum(megafleet:fleet_vms:count{state="running"})', "short"),
    ("Failed", 'sum(megafleet:fleet_vms:count{state="failed"})', "short"),
    ("Unplaced", "sum(max by (cluster, fleet) (megafleet_fleet_unplaced_vms))", "short"),
    ("Hosts live", 'sum(megafleet:hosts:count{health="live"})', "short"),
    ("Leaders", "sum(megafleet:leaders:count)", "short"),
    ("Store members up", "sum(megafleet:store_member:up)", "short"),
    ("Frozen or breaker open", "max(megafleet_frozen) + max(megafleet_breaker_open)", "short"),
)
_ROWS: tuple[tuple[str, tuple[tuple[str, str, str, str], ...]], ...] = (
    (
        "VMs",
        (
            ("VMs by state", "sum by (state) (megafleet:fleet_vms:count)", "short", "{{state}}"),
            ("Share failed", "megafleet:fleet_failed:share", "percentunit", "{{fleet}}"),
            ("Problems", "max by (kind) (megafleet_problem_vms)", "short", "{{kind}}"),
            ("Unplaced", "max by (reason) (megafleet_unplaced_vms)", "short", "{{reason}}"),
            ("Rollouts, left to change", "max(megafleet_rollout_left_vms)", "short", "VMs"),
            (
                "Scales, nine of ten within",
                _nine_of_ten("increase(megafleet_scale_seconds_bucket[1h])"),
                "s",
                "seconds",
            ),
        ),
    ),
    (
        "Hosts",
        (
            ("Hosts by health", "sum by (health) (megafleet:hosts:count)", "short", "{{health}}"),
            ("Set apart", "max by (why) (megafleet_hosts_set_apart)", "short", "{{why}}"),
            ("Room", "max(megafleet_capacity_vms)", "short", "admitted"),
            ("Oldest report", "max(megafleet_oldest_report_age_seconds)", "s", "age"),
            ("Versions", "max by (version) (megafleet_hosts_of_version)", "short", "{{version}}"),
            (
                "Boots, nine of ten within",
                _nine_of_ten("rate(megafleet_boot_seconds_bucket[5m])"),
                "s",
                "seconds",
            ),
            (
                "Steps a second",
                "sum by (step) (rate(megafleet_agent_done_total[5m]))",
                "short",
                "{{step}}",
            ),
            (
                "Failures a second",
                "sum by (kind) (rate(megafleet_agent_failures_total[5m]))",
                "short",
                "{{kind}}",
            ),
            (
                "Fullest pools",
                "topk(5, 1 - megafleet_agent_pool_free_bytes / megafleet_agent_pool_bytes)",
                "percentunit",
                "{{instance}}",
            ),
            (
                "Least memory",
                "bottomk(5, megafleet_agent_memory_available_bytes)",
                "bytes",
                "{{instance}}",
            ),
        ),
    ),
    (
        "Controllers and store",
        (
            ("Who leads", "megafleet_controller_leads", "short", "{{instance}}"),
            ("Events", "sum by (kind) (rate(megafleet_events_total[5m]))", "short", "{{kind}}"),
            ("Reads of the store", "megafleet_store_read_seconds", "s", "{{instance}}"),
            (
                "Size of the store",
                "max by (member) (megafleet_store_member_size_bytes)",
                "bytes",
                "{{member}}",
            ),
            ("Memory of controllers", "process_resident_memory_bytes", "bytes", "{{instance}}"),
            ("Reading for a scrape", "max(megafleet_read_seconds)", "s", "seconds"),
        ),
    ),
)


def made() -> str:
    """The dashboard, as Grafana imports it."""
    board = (
        Dashboard("Megafleet")
        .uid("megafleet")
        .tags(["megafleet"])
        .refresh("30s")
        .time("now-3h", "now")
        .readonly()
        .with_variable(DatasourceVariable("source").label("Prometheus").type("prometheus"))
    )
    for title, asked, unit in _NUMBERS:
        number = (
            Stat()
            .title(title)
            .reduce_options(_LAST)
            .datasource(_SOURCE)
            .unit(unit)
            .span(3)
            .height(4)
        )
        board.with_panel(number.with_target(Dataquery().ref_id("A").expr(asked).instant()))
    for row, panels in _ROWS:
        board.with_row(Row(row))
        for title, asked, unit, line in panels:
            graph = (
                TimeSeries().title(title).legend(_LEGEND).datasource(_SOURCE).unit(unit).span(12)
            )
            target = Dataquery().ref_id("A").expr(asked).legend_format(line)
            board.with_panel(graph.height(_HEIGHT).min(0).with_target(target))
    return JSONEncoder(sort_keys=True, indent=2).encode(board.build()) + "\n"


def main() -> None:
    text = made()
    if "--check" in sys.argv[1:]:
        if not FILE.exists() or FILE.read_text() != text:
            sys.exit(f"{FILE} is not what dashboard.py makes: run it without --check")
        return
    FILE.write_text(text)


if __name__ == "__main__":
    main()
