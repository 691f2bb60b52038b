"""How expelled hosts, denied people and certificates that end are shown."""

from __future__ import annotations

import click
import pytest

from fleet.v1 import cluster_pb2 as cluster
from fleetctl.tables.listing import Listing
from fleetctl.views.cluster.status import status_json, status_text
from fleetctl.views.hosts.hosts import detail_text, host_json, standing
from fleetctl.views.hosts.loss import DENIED_COLUMNS, expelled_text, expulsion_text

ENDS = 1_800_000_000  # 2027-01-15 08:00 UTC
EXPELLED = cluster.HostSummary(
    id="h1",
    health=cluster.HOST_HEALTH_LOST,
    expelled="it lies\n",
    certificate_expires_unix=ENDS,
    report_age_seconds=-1,
)


def test_an_expelled_host_is_shown_with_the_reason_and_the_way_back() -> None:
    assert standing(EXPELLED) == "lost, expelled"
    shown = host_json(EXPELLED)
    assert (shown["expelled"], shown["certificate_expires"]) == ("it lies\n", ENDS)
    text = detail_text(cluster.HostDetail(summary=EXPELLED))
    assert "'fleetctl hosts readmit h1' takes it back" in text
    assert "certificate  ends on 2027-01-15 08:00 UTC" in text


def test_status_counts_expelled_hosts_and_lists_certificates_that_end() -> None:
    ending = [
        cluster.ExpiringCertificate(holder=f"agent/h{number}", expires_unix=ENDS)
        for number in range(8)
    ]
    answer = cluster.StatusResponse(hosts=cluster.HostCounts(expelled=2), certificates=ending)
    text = click.unstyle(status_text(answer))
    assert "2 expelled" in text
    assert "certificate  agent/h0: ends on 2027-01-15 08:00 UTC" in text
    assert "certificate  3 more certificates within 30 days" in text and "agent/h5" not in text
    shown = status_json(answer)
    assert shown["hosts"]["expelled"] == 2
    assert shown["certificates"][0] == {"holder": "agent/h0", "expires": ENDS, "file": None}
    quiet = click.unstyle(status_text(cluster.StatusResponse()))
    assert "expelled" not in quiet and "certificate" not in quiet


@pytest.mark.parametrize(
    ("answer", "before", "after"),
    [
        (
            cluster.ExpelHostResponse(known=True, vms=250, address="a:1"),
            "250 VMs of h1 are placed elsewhere at once. It is not asked to stop them: they may "
            "run twice until the dom0 at a:1 is switched off.",
            "h1 is expelled; 250 VMs are placed elsewhere, and may still run there: switch off "
            "the dom0 at a:1",
        ),
        (
            cluster.ExpelHostResponse(known=True, address="a:1"),
            "h1 at a:1 has no VMs.",
            "h1 is expelled; it had no VMs",
        ),
        (
            cluster.ExpelHostResponse(),
            "There is no host h1: its name is denied in advance.",
            "h1 is denied; there was no such host",
        ),
    ],
)
def test_what_an_expulsion_means_is_said_before_and_after(
    answer: cluster.ExpelHostResponse, before: str, after: str
) -> None:
    assert (expulsion_text("h1", answer), expelled_text("h1", answer)) == (before, after)


def test_who_is_denied_is_a_table() -> None:
    one = cluster.Denied(role="viewer", name="eve", reason="left", actor="a", since_unix=ENDS)
    listing = Listing(DENIED_COLUMNS, width=None, clock=lambda: ENDS + 300.0)
    assert list(listing.text([one])) == [
        "NAME  ROLE    SINCE    BY  REASON",
        "eve   viewer  5 m ago  a   left",
    ]
