"""Records that were broken, deleted or doubled by hand in the store: each takes its own fleet or
host out, and no VM runs twice. The leader is the real one, in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from fleet_controller.core.refusals import Reason, Refused
from fleet_controller.replica.leader import Leader
from fleet_controller.store import keys
from fleet_controller.store.port import Delete, Entry, Put
from tests.doubles import answers
from tests.doubles.leading import until
from tests.in_process.six_hosts import ME, SPEC, Stage, converged, kinds, play, told


async def stored(stage: Stage, key: str) -> Entry:
    (entry,) = (await stage.store.read(key)).entries
    return entry


async def write(stage: Stage, key: str, value: bytes | None) -> None:
    """By somebody else than the leader."""
    await stage.store.txn([], [Put(key, value) if value is not None else Delete(key)])


def problems(leader: Leader, fleet: str = "spv") -> dict[str, str]:
    return {one.kind: one.example for one in answers.fleet_status(leader, fleet).problems}


def spec_key(leader: Leader) -> str:
    return keys.spec(leader.memory.state.fleets["spv"].uid, 1)


def running(stage: Stage) -> dict[tuple[str, int], str]:
    return dict(stage.world.running)


def test_a_broken_template_takes_out_its_fleet_and_leaves_its_vms_alone() -> None:
    async def scenario(leader: Leader, stage: Stage) -> None:
        before, good = running(stage), await stored(stage, spec_key(leader))
        await leader.fleets.apply("other", SPEC, ME)
        await write(stage, spec_key(leader), b'{"admission":{"per_second":"Infinity"}}')
        await until(lambda: "broken_record" in problems(leader))
        assert "must be a number of at least 0; got inf" in problems(leader)["broken_record"]
        await leader.fleets.scale("other", 6, ME)
        await until(lambda: answers.fleet_status(leader, "other").converged)
        with pytest.raises(Refused, match="cannot be carried out"):
            await leader.fleets.scale("spv", 30, ME)
        assert before.items() <= running(stage).items()
        await write(stage, spec_key(leader), good.value)
        await until(lambda: "broken_record" not in problems(leader))
        await leader.fleets.scale("spv", 26, ME)
        await until(lambda: converged(leader))
        assert before.items() <= running(stage).items()

    play(scenario)


def test_a_broken_fleet_is_left_alone_and_its_name_is_taken() -> None:
    async def scenario(leader: Leader, stage: Stage) -> None:
        before, good = running(stage), await stored(stage, keys.fleet("spv"))
        await leader.fleets.apply("other", SPEC, ME)
        await write(stage, keys.fleet("spv"), b"rubbish")
        await until(lambda: "broken_record" in problems(leader, "other"))
        with pytest.raises(Refused, match="mend or delete it") as refused:
            await leader.fleets.apply("spv", SPEC, ME)
        assert refused.value.reason is Reason.BROKEN_RECORD
        await leader.fleets.scale("other", 12, ME)
        await until(lambda: answers.fleet_status(leader, "other").converged)
        await asyncio.sleep(300)
        assert before.items() <= running(stage).items()
        await write(stage, keys.fleet("spv"), good.value)
        await until(lambda: "spv" in leader.memory.state.fleets and converged(leader))
        await until(lambda: not answers.fleet_status(leader, "spv").orphans)
        assert before.items() <= running(stage).items()

    play(scenario)


def test_a_new_leader_starts_over_rubbish_and_places_nothing_twice() -> None:
    """Of a host that nobody hears, and whose assignment nobody can read, nothing is known."""
    before: dict[tuple[str, int], str] = {}

    async def spoil(leader: Leader, stage: Stage) -> None:
        before.update(running(stage))
        await write(stage, keys.assignment("h0"), b"rubbish")
        await write(stage, "fleets/x/spec/abc", b"rubbish")
        await write(stage, keys.rollout("x"), b"rubbish")
        await until(lambda: len(leader.memory.state.broken) == 3)
        stage.network.cut("h0:1")

    async def go_on(leader: Leader, stage: Stage) -> None:
        with pytest.raises(Refused, match="what h0 holds is not known"):
            await leader.fleets.scale("spv", 26, ME)
        await asyncio.sleep(120)
        assert running(stage) == before
        stage.network.mend()
        await until(lambda: leader.memory.observed.host("h0").seen)
        await leader.fleets.scale("spv", 26, ME)
        await until(lambda: len(running(stage)) == 26)
        await asyncio.sleep(120)
        assert before.items() <= running(stage).items() and not stage.world.twice

    play(spoil, go_on)


def test_a_deleted_host_key_leaves_its_vms_where_they_are() -> None:
    async def delete(leader: Leader, stage: Stage) -> None:
        before = running(stage)
        await write(stage, keys.host("h0"), None)
        await asyncio.sleep(120)
        assert running(stage) == before and converged(leader)

    async def go_on(leader: Leader, stage: Stage) -> None:
        before = running(stage)
        await asyncio.sleep(60)
        assert running(stage) == before and not stage.world.twice
        assert "host_unreachable" in problems(leader)

    play(delete, go_on)


def test_a_vm_in_two_assignments_is_healed_by_the_newest_birth() -> None:
    async def scenario(leader: Leader, stage: Stage) -> None:
        before = running(stage)
        theirs = await stored(stage, keys.assignment("h0"))
        stage.world.is_lost = lambda host: host == "h1"  # it starts what h0 runs, as it was told
        await write(stage, keys.assignment("h1"), theirs.value)
        await until(lambda: "double_assignment" in kinds(leader))
        await until(lambda: not stage.world.twice and converged(leader))
        assert ("double_assignment", "leader", "") in told(leader)
        held = {vm for vm, host in running(stage).items()}
        assert held == set(before)

    play(scenario)


def test_vms_in_two_assignments_are_shown_as_duplicates_while_they_run_twice() -> None:
    async def scenario(leader: Leader, stage: Stage) -> None:
        assert answers.fleet_status(leader, "spv").duplicates == 0
        theirs = await stored(stage, keys.assignment("h0"))
        stage.world.is_lost = lambda host: host == "h1"
        await write(stage, keys.assignment("h1"), theirs.value)
        await until(lambda: bool(stage.world.twice))
        await until(
            lambda: answers.fleet_status(leader, "spv").duplicates == len(stage.world.twice) > 0
        )
        shown = [answers.host_summary(leader, host).duplicates for host in ("h0", "h1")]
        assert sum(shown) == len(stage.world.twice)
        await until(lambda: "double_assignment" in kinds(leader))
        await until(lambda: not stage.world.twice and converged(leader))
        await until(lambda: answers.fleet_status(leader, "spv").duplicates == 0)

    play(scenario)


def test_rubbish_in_the_record_of_the_store_itself_freezes_changes() -> None:
    async def spoil(leader: Leader, stage: Stage) -> None:
        before = running(stage)
        await write(stage, keys.META, b"rubbish")
        await until(leader.trust.anew.is_set)
        await asyncio.sleep(60)
        assert running(stage) == before

    play(spoil)
