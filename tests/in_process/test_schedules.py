"""Totals that change by time, carried out by the real leader in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from fleet_controller.core.people.changes import QuotaChange
from fleet_controller.core.people.records import Grant, PersonRole
from fleet_controller.core.refusals import Reason, Refused
from fleet_controller.queries import fleet_plans
from fleet_controller.replica.leader import Leader
from fleet_controller.store import keys
from fleet_controller.store.port import Put
from tests.doubles import answers
from tests.doubles.leading import until
from tests.in_process.six_hosts import HOSTS, ME, PER_HOST, SPEC, Scene, Stage, converged, told
from tests.in_process.six_hosts import play as play_with

YOU = "operator/you"
HOUR, DAY = 3600.0, 86_400.0
BY_SCHEDULE = f"schedule for {ME}"


WHOLE = types.FleetSpec(
    memory_bytes=SPEC.memory_bytes,
    vcpus=1,
    on_loss=types.ON_LOSS_WAIT,
    image=types.Image(name="golden", snapshot="1"),
    boot=types.Boot(firmware=types.FIRMWARE_BIOS),
    disk=types.Disk(target="xvda"),
    readiness=types.Readiness(domain_active=True, timeout_seconds=30),
    admission=types.Admission(parallel=4),
    placement=types.Placement(policy=types.Placement.POLICY_SPREAD),
)


def scheduled(*points: tuple[str, int], zone: str = "UTC") -> types.FleetSpec:
    spec = types.FleetSpec()
    spec.CopyFrom(WHOLE)
    spec.schedule.time_zone = zone
    for at, total in points:
        spec.schedule.points.add(at=at, total=total)
    return spec


OFFICE = scheduled(("0 8 * * *", 40), ("0 20 * * *", 8))


def play(*scenes: Scene) -> None:
    play_with(*scenes, spec=WHOLE)


def total(leader: Leader) -> int:
    return leader.memory.state.fleets["spv"].total


def status(leader: Leader) -> cluster.ScheduleStatus:
    return answers.fleet_status(leader, "spv").schedule


def events(leader: Leader, kind: str) -> list[str]:
    found, _ = leader.memory.events.after(0, 10_000, "", "")
    return [event.message for event in found if event.kind == kind]


def by_time(leader: Leader) -> list[tuple[str, str, str]]:
    """Lines of the audit trail."""
    return [line for line in told(leader) if line[0] == "schedule"]


def it_is(stage: Stage, seconds: float) -> None:
    """So late of the first day, from now on."""
    stage.ahead += seconds - stage.wall()


async def may_own(leader: Leader, vms: int) -> None:
    """The owner, so many."""
    grant = Grant(PersonRole.ADMIN)
    await leader.people.add("me", [grant], QuotaChange(vms=vms), ME, "me")


async def a_while() -> None:
    await asyncio.sleep(5)


def test_a_point_is_one_audited_change_in_the_name_of_who_applied_the_schedule() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        it_is(stage, 6 * HOUR)
        await leader.fleets.apply("spv", OFFICE, ME)
        await a_while()
        assert (total(leader), leader.memory.state.fleets["spv"].generation) == (24, 1)
        one = status(leader)
        assert (one.next_local, one.next_total) == ("1970-01-01T08:00+00:00", 40)
        assert (one.time_zone, one.applied_by, one.problem) == ("UTC", ME, "")
        it_is(stage, 8 * HOUR - 2)
        await until(lambda: total(leader) == 40)
        await until(lambda: converged(leader))
        assert by_time(leader) == [("schedule", BY_SCHEDULE, "40")]
        assert events(leader, "fleet_scaled")[-1] == "fleet spv: 24 -> 40 VMs, by its schedule"
        revision = leader.memory.state.revision
        await a_while()
        assert leader.memory.state.revision == revision, "nothing is written between points"
        assert status(leader).next_total == 8

    play(scene)


def test_the_next_leader_neither_repeats_a_point_nor_forgets_one() -> None:
    async def first(leader: Leader, stage: Stage) -> None:
        it_is(stage, 6 * HOUR)
        await leader.fleets.apply("spv", OFFICE, ME)
        it_is(stage, 8 * HOUR)
        await until(lambda: total(leader) == 40)
        await leader.fleets.scale("spv", 30, YOU)
        assert status(leader).by_hand == YOU

    async def second(leader: Leader, stage: Stage) -> None:
        await a_while()
        assert total(leader) == 30, "by hand until the next point"
        assert status(leader).by_hand == YOU

    async def third(leader: Leader, stage: Stage) -> None:
        it_is(stage, 3 * DAY + 21 * HOUR)
        await until(lambda: total(leader) == 8)
        assert events(leader, "fleet_scaled")[-1] == (
            "fleet spv: 30 -> 8 VMs, by its schedule, 60 min late: it was due at "
            "1970-01-04T20:00+00:00; points before it are passed over"
        )
        assert [line[2] for line in by_time(leader)] == ["40", "8"]

    play(first, second, third)


def test_a_total_for_a_time_is_back_when_it_is_over_whoever_leads_then() -> None:
    async def first(leader: Leader, stage: Stage) -> None:
        it_is(stage, HOUR)
        await leader.fleets.scale("spv", 40, YOU, seconds=7200)
        one = status(leader)
        assert (one.held_until_local, one.then_total) == ("1970-01-01T03:00+00:00", 24)
        assert one.held_by == YOU
        await until(lambda: converged(leader))

    async def second(leader: Leader, stage: Stage) -> None:
        it_is(stage, 3 * HOUR - 30)
        await a_while()
        assert total(leader) == 40
        it_is(stage, 3 * HOUR)
        await until(lambda: total(leader) == 24)
        assert by_time(leader) == [("schedule", f"schedule for {YOU}", "24")]
        assert not answers.fleet_status(leader, "spv").HasField("schedule")
        assert events(leader, "fleet_scaled")[-1].endswith("24 VMs, a total for a time is over")

    play(first, second)


def test_a_total_for_a_time_holds_over_a_point_which_counts_afterwards() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        it_is(stage, 7 * HOUR)
        await leader.fleets.apply("spv", OFFICE, ME)
        await leader.fleets.scale("spv", 4, YOU, seconds=7200)
        it_is(stage, 8.5 * HOUR)
        await a_while()
        assert total(leader) == 4 and status(leader).then_total == 40
        it_is(stage, 9 * HOUR)
        await until(lambda: total(leader) == 40)

    play(scene)


def test_a_clock_that_is_set_back_repeats_nothing_and_one_days_ahead_blocks_nothing() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        it_is(stage, 6 * HOUR)
        await leader.fleets.apply("spv", OFFICE, ME)
        it_is(stage, 9 * HOUR)
        await until(lambda: total(leader) == 40)
        await leader.fleets.scale("spv", 30, YOU)
        it_is(stage, 7.999 * HOUR)
        await a_while()
        assert total(leader) == 30 and len(by_time(leader)) == 1
        assert "clock is behind" in status(leader).problem
        assert len(events(leader, "schedule_clock")) == 1
        it_is(stage, 400 * DAY)
        await until(lambda: total(leader) == 8)
        assert len(by_time(leader)) == 2, "one change, however far it jumps"
        it_is(stage, DAY + 7 * HOUR)
        await until(lambda: status(leader).problem == "")
        assert "set back by more than a day" in events(leader, "schedule_clock")[-1]
        it_is(stage, DAY + 8 * HOUR)
        await until(lambda: total(leader) == 40)

    play(scene)


def test_a_schedule_that_cannot_fit_is_refused_when_it_is_applied_and_planned() -> None:
    most = HOSTS * PER_HOST
    large = scheduled(("0 8 * * *", most + 1), ("0 20 * * *", 1))

    async def scene(leader: Leader, stage: Stage) -> None:
        words = f"largest total of its schedule is {most + 1}, and {most} would fit"
        with pytest.raises(Refused, match=words) as refusal:
            await leader.fleets.apply("spv", large, ME)
        assert refusal.value.reason is Reason.BEYOND_CAPACITY
        request = cluster.PlanFleetsRequest()
        request.fleets.add(name="spv", spec=large)
        known = fleet_plans.known(leader.memory, request)
        with pytest.raises(Refused, match=words):
            await leader.fleets.plan_files(known, [("spv", large)], prune=False, others=())
        with pytest.raises(Refused, match="and 24 would fit"):
            await leader.fleets.apply("new", large, ME)
        plans = await leader.fleets.plan_files(known, [("spv", OFFICE)], prune=False, others=())
        (plan,) = plans.fleets
        assert {one.field: one.after for one in plan.fields} == {
            "schedule.time_zone": "UTC",
            "schedule.points[0].at": "0 8 * * *", "schedule.points[0].total": "40",
            "schedule.points[1].at": "0 20 * * *", "schedule.points[1].total": "8",
        }  # fmt: skip
        assert plan.generation == 1 and all(one.setting for one in plan.fields)
        assert "its schedule holds from its next point on: until then the total stays" in plan.says

    play(scene)


def test_what_fits_no_more_when_its_time_has_come_is_told_and_placed_when_it_fits() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        it_is(stage, 7 * HOUR)
        await leader.fleets.apply("spv", OFFICE, ME)
        for host in ("h0", "h1", "h2"):
            await leader.hosts.cordon(host, True, ME)
        it_is(stage, 8 * HOUR)
        await until(lambda: total(leader) == 40)
        (text,) = events(leader, "schedule_unfit")
        assert text.startswith("fleet spv: 4 VMs of its schedule fit nowhere yet: ")
        await until(lambda: answers.fleet_status(leader, "spv").unplaced_reasons != [])
        await leader.hosts.cordon("h0", False, ME)
        await until(lambda: converged(leader))

    play(scene)


def test_what_owners_may_not_own_is_told_and_tried_again() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        it_is(stage, 7 * HOUR)
        await may_own(leader, 30)
        await leader.fleets.set_owners("spv", ["me"], [], ME)
        with pytest.raises(Refused, match="me owns to 40 VMs"):
            await leader.fleets.apply("spv", OFFICE, ME)
        await may_own(leader, 40)
        await leader.fleets.apply("spv", OFFICE, ME)
        await may_own(leader, 30)
        it_is(stage, 8 * HOUR)
        await until(lambda: "me owns to 40 VMs" in status(leader).problem)
        revision = leader.memory.state.revision
        await asyncio.sleep(100)
        assert total(leader) == 24
        assert len(events(leader, "schedule_unfit")) == 1, "told once"
        await may_own(leader, 40)
        await until(lambda: total(leader) == 40)
        assert status(leader).problem == "" and revision

    play(scene)


def test_a_schedule_goes_with_its_fleet_and_with_the_file_that_has_none() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        uid = leader.memory.state.fleets["spv"].uid
        await leader.fleets.apply("spv", OFFICE, ME)
        assert uid in leader.memory.state.schedules
        await leader.fleets.apply("spv", WHOLE, ME)
        assert not leader.memory.state.schedules
        assert not answers.fleet_status(leader, "spv").HasField("schedule")
        await leader.fleets.apply("spv", OFFICE, ME)
        await leader.fleets.delete("spv", ME)
        await until(lambda: "spv" not in leader.memory.state.fleets)
        assert not leader.memory.state.schedules
        assert not (await stage.store.read(keys.SCHEDULES)).entries

    play(scene)


def test_a_record_that_does_not_read_takes_out_its_schedule_alone_until_somebody_scales() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        it_is(stage, 7 * HOUR)
        await leader.fleets.apply("spv", OFFICE, ME)
        key = keys.schedule(leader.memory.state.fleets["spv"].uid)
        await stage.store.txn([], [Put(key, b'{"fleet":"spv","done_until":"soon"}')])
        await until(lambda: "is not followed" in status(leader).problem)
        it_is(stage, 9 * HOUR)
        await a_while()
        assert total(leader) == 24 and status(leader).next_unix == 0
        await leader.fleets.scale("spv", 25, ME)
        await until(lambda: converged(leader))
        assert status(leader).problem == "" and status(leader).next_total == 8
        it_is(stage, 20 * HOUR)
        await until(lambda: total(leader) == 8)

    play(scene)
