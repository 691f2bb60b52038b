"""What of a status needs somebody, how badly, and how that is said in one line."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import upgrade_pb2 as wire
from fleetctl.views.cluster.health_check import Level, check_json, check_line, unknown, verdict_of
from tests.processes.controller_double import status

NOW = 1_700_000_000.0
DAY = 86_400
Change = Callable[[cluster.StatusResponse], object]


def seen(
    change: Change, running: int = 1000, failed: int = 0, unplaced: int = 0
) -> cluster.StatusResponse:
    answer = status(running=running, failed=failed, unplaced=unplaced)
    change(answer)
    return answer


def hosts(**counts: int) -> Change:
    return lambda answer: answer.hosts.MergeFrom(cluster.HostCounts(**counts))


def freeze(answer: cluster.StatusResponse) -> None:
    answer.freeze.reason = "the store is older"


def breaker(answer: cluster.StatusResponse) -> None:
    answer.breaker.reason = "12% of all hosts are gone"


def halted(answer: cluster.StatusResponse) -> None:
    answer.fleets[0].rollout.state = "halted"
    answer.fleets[0].rollout.message = "too many failed"


def forgotten(answer: cluster.StatusResponse) -> None:
    answer.fleets[0].rollout.state = "canary"
    answer.fleets[0].rollout.forgotten = True
    answer.fleets[0].rollout.waiting_seconds = 90_000.0


def unscheduled(answer: cluster.StatusResponse) -> None:
    answer.fleets[0].schedule.problem = "anna may own 30 VMs"


def scheduled(answer: cluster.StatusResponse) -> None:
    answer.fleets[0].schedule.next_total = 30


def upgrading(state: wire.UpgradeStatus.State.ValueType) -> Change:
    return lambda answer: answer.upgrade.MergeFrom(wire.UpgradeStatus(state=state))


def unplaced(reason: str) -> Change:
    return lambda answer: answer.fleets[0].unplaced_reasons.add(reason=reason, count=10)


def ending(days: float) -> Change:
    return lambda answer: answer.certificates.add(
        holder="agent/h1", expires_unix=int(NOW + days * DAY)
    )


def store(reads: float, *alarms: str) -> Change:
    def change(answer: cluster.StatusResponse) -> None:
        answer.store.members.add(address="e1", reachable=False, alarms=alarms)
        answer.store.troubles.append("member e1 cannot be reached")
        answer.store.read_seconds = reads

    return change


def nothing(answer: cluster.StatusResponse) -> None:
    pass


@pytest.mark.parametrize(
    ("answer", "level", "names"),
    [
        (status(), Level.OK, []),
        (status(running=0), Level.OK, []),  # on its way
        (status(running=999, failed=1), Level.WARNING, ["failed"]),
        (status(running=950, failed=50), Level.CRITICAL, ["failed"]),
        (seen(unplaced("capacity"), running=990, unplaced=10), Level.WARNING, ["unplaced"]),
        (seen(unplaced("releasing"), running=990, unplaced=10), Level.OK, []),
        (status(running=990, unplaced=10), Level.OK, []),  # not decided yet
        (seen(hosts(unreachable=1, total=100)), Level.WARNING, ["hosts_gone"]),
        (seen(hosts(unreachable=1, suspect=2, lost=2, total=100)), Level.CRITICAL, ["hosts_gone"]),
        (seen(hosts(cordoned=1, draining=1, expelled=1, awaiting_approval=1)), Level.OK, []),
        (seen(hosts(quarantined=1, misbehaving=1)), Level.WARNING, ["quarantined", "misbehaving"]),
        (seen(freeze), Level.CRITICAL, ["frozen"]),
        (seen(breaker), Level.CRITICAL, ["breaker_open"]),
        (seen(halted), Level.WARNING, ["rollout"]),
        (seen(forgotten), Level.WARNING, ["canary_forgotten"]),
        (seen(unscheduled), Level.WARNING, ["schedule"]),
        (seen(scheduled), Level.OK, []),
        (seen(upgrading(wire.UpgradeStatus.STATE_RUNNING)), Level.OK, []),
        (seen(upgrading(wire.UpgradeStatus.STATE_HALTED)), Level.WARNING, ["upgrade"]),
        (seen(ending(8)), Level.OK, []),
        (seen(ending(6.9)), Level.WARNING, ["certificate"]),
        (seen(ending(0.9)), Level.CRITICAL, ["certificate"]),
        (seen(store(0.002)), Level.WARNING, ["store"]),
        (seen(store(0.0)), Level.CRITICAL, ["store"]),
        (seen(store(0.002, "NOSPACE")), Level.CRITICAL, ["store"]),
    ],
)
def test_what_counts_as_what(
    answer: cluster.StatusResponse, level: Level, names: list[str]
) -> None:
    verdict = verdict_of(answer, NOW)
    assert (verdict.level, [one.name for one in verdict.reasons]) == (level, names)


def test_hosts_that_a_new_leader_has_not_heard_yet_are_no_reason() -> None:
    answer = seen(hosts(unreachable=40, total=100))
    answer.settling.heard = 60
    verdict = verdict_of(answer, NOW)
    assert verdict.level is Level.OK and verdict.summary.endswith("; the leader has just begun")


def test_the_worst_comes_first_in_one_line_with_figures_after_a_bar() -> None:
    answer = seen(freeze, running=997, failed=3)
    answer.freeze.reason = "older|\nthan before"
    answer.fleets[0].problems.add(kind="no_memory", count=3, hosts=1)
    assert check_line(verdict_of(answer, NOW)) == (
        "MEGAFLEET CRITICAL - changes are frozen: older/\\nthan before; 3 VMs of spv failed, most "
        "of them as no_memory | running=997 wanted=1000 failed=3 unplaced=0 hosts_live=4 hosts=4"
    )


def test_a_line_names_five_reasons_and_counts_the_rest() -> None:
    answer = status()
    for day in range(7):
        ending(day + 0.5)(answer)
    line = check_line(verdict_of(answer, NOW))
    assert line.count("certificate") == 5 and "; 2 more reasons |" in line


def test_all_is_well_in_one_line_and_as_json() -> None:
    verdict = verdict_of(status(), NOW)
    assert check_line(verdict).startswith(
        "MEGAFLEET OK - 1,000 of 1,000 VMs running, 4 of 4 hosts live | running=1000 "
    )
    told = check_json(verdict)
    assert (told["check"], told["code"], told["reasons"]) == ("OK", 0, [])
    assert told["figures"]["wanted"] == 1000


def test_what_cannot_be_found_out_is_unknown() -> None:
    assert check_line(unknown("no answer")) == "MEGAFLEET UNKNOWN - no answer"
