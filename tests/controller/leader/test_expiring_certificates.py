"""Certificates that end: listed for status, and told at 30, 7 and 1 days, once each."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path

from fleet.certificates.certificate import Certificate
from fleet.certificates.certificate_dates import CertificateFile
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet_controller.core.model import HostRecord
from fleet_controller.events import EventLog
from fleet_controller.leader.expiring_certificates import ExpiringCertificates
from fleet_controller.observed.reports import Observed

DAY = 86_400
NOW = 1_700_000_000


class Watched:
    """Hosts and a controller whose certificates end in so many days; time is moved by hand."""

    def __init__(self, own: int = 1000, **hosts: int) -> None:
        self.now = float(NOW)
        self.observed = Observed()
        self.hosts: dict[str, HostRecord] = {}
        for host, days in hosts.items():
            self.shows(host, days)
        self.told: dict[str, int] = {}
        self.events = EventLog(lambda: self.now)
        ends = datetime.fromtimestamp(NOW + own * DAY, UTC)
        certificate = Certificate((), frozenset(), datetime.fromtimestamp(0, UTC), ends)
        file = CertificateFile("the certificate of c1", Path("/etc/c1/cert.pem"), certificate)
        self.own = (file,)
        self.lead()

    def lead(self, host_days: float = math.inf) -> None:
        self.watch = ExpiringCertificates(
            lambda: self.own, self.observed, self.hosts, self.events, self.told, host_days
        )

    def shows(self, host: str, days: int) -> None:
        """The host's certificate ends in so many days from the beginning."""
        self.hosts[host] = HostRecord(host, f"{host}:1")
        facts = types.HostFacts(certificate_expires_unix=NOW + days * DAY)
        self.observed.reported(host, wire.Report(full=True, facts=facts), 0)

    def after(self, days: float) -> list[str]:
        """What is told at a look then."""
        self.now = NOW + days * DAY
        before = len(self.messages)
        self.watch.look()
        return self.messages[before:]

    @property
    def messages(self) -> list[str]:
        events, _ = self.events.after(0, 1000, "", "")
        return [event.message for event in events]


def test_each_certificate_is_told_at_30_7_and_1_days_and_when_it_has_ended_once_each() -> None:
    watched = Watched(h1=40)
    told = [(day / 4, said) for day in range(200) for said in watched.after(day / 4)]
    assert told == [
        (10.0, "the certificate of h1 ends within 30 days: make another"),
        (33.0, "the certificate of h1 ends within 7 days: make another"),
        (39.0, "the certificate of h1 ends within 1 day: make another"),
        (40.0, "the certificate of h1 has ended"),
    ]


def test_one_that_is_found_late_is_told_once_and_no_new_leader_tells_it_again() -> None:
    watched = Watched(h1=3)
    assert len(watched.after(0)) == 1 and not watched.after(0.5)
    watched.lead()
    assert not watched.after(1.0)
    assert len(watched.after(2.5)) == 1


def test_the_controllers_own_are_told_with_their_file() -> None:
    watched = Watched(own=5)
    assert watched.after(0) == [
        "the certificate of c1 (/etc/c1/cert.pem) ends within 7 days: make another"
    ]
    (one,) = watched.watch.soon
    assert (one.holder, one.file) == ("the certificate of c1", "/etc/c1/cert.pem")


def test_status_has_the_soonest_first_and_what_is_renewed_no_more() -> None:
    watched = Watched(own=20, h1=90, h2=10)
    watched.after(0)
    assert [one.holder for one in watched.watch.soon] == ["agent/h2", "the certificate of c1"]
    watched.shows("h2", 400)
    watched.after(1)
    assert [one.holder for one in watched.watch.soon] == ["the certificate of c1"]
    assert watched.told.keys() == {"the certificate of c1 /etc/c1/cert.pem"}


def test_many_hosts_are_one_event_and_dates_that_are_none_are_none() -> None:
    watched = Watched(**{f"h{number}": 5 for number in range(500)})
    assert watched.after(0) == ["the certificates of 500 hosts end within 7 days: make another"]
    assert len(watched.watch.soon) == 20
    odd = Watched(h1=2**40, h2=-(2**40))
    assert not odd.after(0) and not odd.watch.soon


def test_a_host_that_is_removed_is_told_no_more() -> None:
    watched = Watched(h1=5)
    del watched.hosts["h1"]
    assert not watched.after(0)


def test_of_hosts_that_renew_only_those_that_have_failed_to_are_told() -> None:
    watched = Watched(h1=14, own=20)
    watched.lead(host_days=14)
    told = [(day / 4, said) for day in range(60) for said in watched.after(day / 4) if "h1" in said]
    assert told == [
        (11.75, "the certificate of h1 ends within 7 days: make another"),
        (13.0, "the certificate of h1 ends within 1 day: make another"),
        (14.0, "the certificate of h1 has ended"),
    ]
