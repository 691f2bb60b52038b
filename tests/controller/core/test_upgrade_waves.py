"""The waves of an upgrade: who is in which, who is in none and why, and what halts it."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from fleet.texts.release import RELEASE, is_newer
from fleet_controller.core.refusals import Refused
from fleet_controller.core.upgrades.record import UpgradeRecord, UpgradeState, check_asked
from fleet_controller.core.upgrades.waves import (
    AgentSeen,
    judged,
    plan,
    wave_is_back,
    with_next_wave,
)

ASKED = UpgradeRecord("0.2.0", width=2, seconds=60)


def agents(*of: tuple[str, str], version: str = "0.1.0") -> list[AgentSeen]:
    return [AgentSeen(host, version, place) for host, place in of]


def by_name(seen: list[AgentSeen]) -> dict[str, AgentSeen]:
    return {one.host: one for one in seen}


def test_the_first_wave_is_one_host_alone_and_the_others_go_by_rack_and_width() -> None:
    seen = agents(("a", "r1"), ("b", "r1"), ("c", "r1"), ("d", "r1"), ("e", "r2"))
    assert plan(ASKED, seen).waves == (("a",), ("b",), ("c", "d"), ("e",))


def test_once_a_host_has_the_release_waves_are_whole() -> None:
    seen = [*agents(("a", "r1"), ("b", "r1"), ("c", "r2")), AgentSeen("z", "0.2.0", "r9")]
    made = plan(ASKED, seen)
    assert made.waves == (("a", "b"), ("c",)) and made.upgraded == ("z",)


def test_no_wave_spans_two_racks() -> None:
    seen = [AgentSeen("z", "0.2.0"), *agents(("a", "r1"), ("b", "r2"), ("c", "r2"))]
    assert plan(ASKED, seen).waves == (("a",), ("b", "c"))


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (AgentSeen("a", "0.1.0", live=False), "is not live"),
        (AgentSeen("a", "0.1.0", live=False, lost=True), "is lost"),
        (AgentSeen("a", "0.1.0", upgrades=False), "names no upgrade_command"),
        (AgentSeen("a", "0.10.0"), "which is newer"),
    ],
)
def test_a_host_that_cannot_be_upgraded_is_in_no_wave_and_says_why(
    one: AgentSeen, why: str
) -> None:
    made = plan(ASKED, [one])
    assert not made.waves and why in made.left["a"]


def test_a_skipped_host_is_left_as_it_is() -> None:
    made = plan(replace(ASKED, skipped=("a",)), agents(("a", "r1"), ("b", "r1")))
    assert made.waves == (("b",),) and made.left == {"a": "skipped"}


def begun(**since: float) -> UpgradeRecord:
    return replace(ASKED, under_way=since)


def test_a_wave_is_waited_for_until_each_of_it_is_live_with_the_release() -> None:
    record = begun(a=0.0, b=0.0)
    back = AgentSeen("a", "0.2.0")
    for other in (
        AgentSeen("b", "0.1.0"), AgentSeen("b", "0.1.0", live=False),
        AgentSeen("b", "0.2.0", live=False),
    ):  # fmt: skip
        seen = by_name([back, other])
        assert not wave_is_back(record, seen)
        assert judged(record, seen, {}, 59.0, 1000.0) is None
    assert wave_is_back(record, by_name([back, AgentSeen("b", "0.2.0")]))


def test_a_host_that_does_not_come_back_within_its_time_halts_it_and_is_named() -> None:
    seen = by_name([AgentSeen("a", "0.2.0"), AgentSeen("b", "0.1.0", live=False)])
    halted = judged(begun(a=0.0, b=0.0), seen, {}, 61.0, 1000.0)
    assert halted is not None and halted.state is UpgradeState.HALTED
    assert "b" in halted.reason and "did not come back" in halted.reason
    assert set(halted.under_way) == {"a", "b"}


def test_a_host_that_says_that_it_failed_halts_it_at_once() -> None:
    seen = by_name(agents(("a", "r1"), ("b", "r1")))
    halted = judged(begun(a=0.0, b=0.0), seen, {"b": "no such package"}, 1.0, 1000.0)
    assert halted is not None and halted.failed == {"b": "no such package"}
    assert "b: no such package" in halted.reason


def test_a_host_that_failed_and_has_the_release_all_the_same_halts_nothing() -> None:
    seen = by_name([AgentSeen("a", "0.2.0")])
    assert judged(begun(a=0.0), seen, {"a": "interrupted"}, 1.0, 1000.0) is None


def test_a_new_leader_gives_hosts_all_their_time_once_more() -> None:
    seen = by_name([AgentSeen("a", "0.1.0", live=False)])
    assert judged(begun(a=0.0), seen, {}, 5000.0, 59.0) is None
    assert judged(begun(a=0.0), seen, {}, 5000.0, 61.0) is not None


def test_a_host_that_was_removed_is_not_waited_for() -> None:
    record = begun(gone=0.0)
    assert wave_is_back(record, {}) and judged(record, {}, {}, 5000.0, 5000.0) is None


def test_the_next_wave_is_begun_or_it_is_done_and_names_who_is_left() -> None:
    seen = [AgentSeen("a", "0.2.0"), AgentSeen("b", "0.1.0")]
    assert with_next_wave(ASKED, seen, 7.0).under_way == {"b": 7.0}
    ended = with_next_wave(ASKED, [seen[0], AgentSeen("b", "0.1.0", live=False)], 7.0)
    assert ended.state is UpgradeState.DONE and ended.ended == 7.0
    assert "1 host left as they are, b among them, which is not live" in ended.reason


@pytest.mark.parametrize(
    "version",
    [
        "",
        "latest",
        "-o",
        "0.1 x",
        "0.1;reboot",
        "0.1/../x",
        "0.1=2",
        "1" * 50,
        "0.1\n",
        "0.1~x",
        "٣",
    ],
)
def test_what_is_no_release_is_refused(version: str) -> None:
    assert not RELEASE.fullmatch(version)
    with pytest.raises(Refused):
        check_asked(replace(ASKED, version=version))


@pytest.mark.parametrize(
    "wrong",
    [
        {"width": 0}, {"width": 257}, {"seconds": 1}, {"seconds": 90_000}, {"wave_label": ""},
        {"hosts": tuple(map(str, range(257)))}, {"selector": {"a": "b" * 256}},
        {"selector": {f"a{number}": "b" for number in range(17)}},
    ],
)  # fmt: skip
def test_what_no_upgrade_can_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(Refused):
        check_asked(replace(ASKED, **wrong))


def test_releases_are_compared_by_their_numbers() -> None:
    assert is_newer("0.10.0", "0.9") and is_newer("1.0.1", "1")
    assert not is_newer("1.0", "1") and not is_newer("0.2.0", "0.2.0")
    assert not is_newer("built-here", "0.1") and not is_newer("9", "x")
    assert not is_newer("0." + "9" * 5000, "1")
