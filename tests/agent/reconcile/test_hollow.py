"""Profiles of hollow hosts: what they may say, and that a seed decides everything."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fleet.keys import Epoch, Term
from fleet.ranges import EMPTY, IndexSet
from fleet_agent.core.model import Batch, Mark, StepKind, StepResult
from fleet_agent.drivers.hollow.behaviour import Behaviour
from fleet_agent.drivers.hollow.profile import (
    DOM0,
    INSTANT,
    BadProfile,
    Dice,
    Fault,
    Latency,
    Profile,
    load_profile,
)
from fleet_agent.drivers.hollow.storage import HollowStorage
from fleet_agent.reconcile.admission import Admission, Tokens
from fleet_agent.reconcile.host_slots import HostSlots
from tests.doubles.assignments import SPV, indices, kin, spec
from tests.virtual_loop import virtual


def batch(ranges: str) -> Batch:
    return Batch(SPV, kin(10), spec(), Mark(Term(1, 1), Epoch(1, 1)), indices(ranges))


def test_named_profiles_are_there() -> None:
    assert load_profile("instant") is INSTANT
    assert load_profile("dom0") is DOM0


def test_a_profile_is_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "slow.toml"
    file.write_text(
        "[latency.clone]\nbase = 0.5\nper_vm = 0.1\nconcurrency = 4\n"
        '[[faults]]\nstep = "start"\nrate = 0.01\nkind = "no_memory"\nattempts = 2\n'
    )
    profile = load_profile(str(file))
    assert profile.latency[StepKind.CLONE] == Latency(0.5, 0.1, 4)
    assert profile.faults == (Fault(StepKind.START, 0.01, "no_memory", attempts=2),)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[latency.clon]\nbase = 1", "Invalid enum value 'clon'"),
        ("[latency.clone]\nbase = -1", r"Expected `float` >= 0\.0 - at `\$\.latency"),
        ("[latency.clone]\nbas = 1", "unknown field `bas`"),
        ('[[faults]]\nstep = "start"\nrate = 2\nkind = "x"', r"Expected `float` <= 1\.0"),
        ("[latency", "profile .*bad.toml: "),
    ],
)
def test_a_broken_profile_says_where(tmp_path: Path, text: str, sentence: str) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(text)
    with pytest.raises(BadProfile, match=sentence):
        load_profile(str(file))


HALF = Profile(faults=(Fault(StepKind.CLONE, 0.5, "no_space"),))


def unlucky(seed: int, host: str) -> list[int]:
    dice = Dice(HALF, seed, host)
    return [n for n in range(1000) if dice.fault(StepKind.CLONE, SPV.uid, n)]


def test_faults_are_decided_by_seed_host_and_index_alone() -> None:
    assert unlucky(1, "a") == unlucky(1, "a")
    assert unlucky(1, "a") != unlucky(2, "a")
    assert unlucky(1, "a") != unlucky(1, "b")
    assert 400 < len(unlucky(1, "a")) < 600


async def results(storage: HollowStorage, ranges: str) -> list[tuple[float, StepResult]]:
    """Each with the virtual second at which it came."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    return [(loop.time() - begun, one) async for one in storage.clone(batch(ranges))]


@virtual
async def test_an_instant_batch_is_one_result_without_a_pause() -> None:
    [(at, result)] = await results(HollowStorage(Behaviour.of()), "0-249")
    assert (at, result.done) == (0.0, indices("0-249"))


@virtual
async def test_a_slow_batch_comes_in_few_parts_each_when_it_is_done() -> None:
    slow = Profile(latency={StepKind.CLONE: Latency(base=1.0, per_vm=0.4, concurrency=4)})
    came = await results(HollowStorage(Behaviour.of(slow)), "0-79")
    assert [at for at, _ in came] == pytest.approx([3.0, 5.0, 7.0, 9.0])
    assert IndexSet.union_of(one.done for _, one in came) == indices("0-79")


@virtual
async def test_calls_at_once_share_the_hosts_hands() -> None:
    slow = Profile(latency={StepKind.CLONE: Latency(per_vm=1.0, concurrency=2)})
    storage = HollowStorage(Behaviour.of(slow))
    async with asyncio.TaskGroup() as group:
        calls = [group.create_task(results(storage, f"{n}")) for n in range(10)]
    assert sorted(call.result()[-1][0] for call in calls) == pytest.approx(
        [0.5 * n for n in range(1, 11)]
    )


@virtual
async def test_a_cancelled_call_leaves_whole_parts_done() -> None:
    slow = Profile(latency={StepKind.CLONE: Latency(per_vm=1.0)})
    storage = HollowStorage(Behaviour.of(slow))
    call = asyncio.create_task(results(storage, "0-79"))
    await asyncio.sleep(25)
    call.cancel()
    await asyncio.wait([call])
    [run] = await storage.listing()
    assert run.indices == indices("0-19")


def test_no_profile_has_other_faults_than_it_names() -> None:
    dice = Dice(DOM0, 0, "a")
    assert not any(dice.has_faults(kind) for kind in StepKind)


def admission(parallel: int, booting: int = 0) -> Admission:
    loop = asyncio.get_running_loop()
    host = HostSlots(None, booting, parallel)
    return Admission(spec(parallel=parallel).admission, booting, Tokens(loop.time), host)


@virtual
async def test_slots_are_given_out_up_to_the_limit_and_again_when_they_come_back() -> None:
    slots = admission(8, booting=3)
    assert await slots.acquire(100) == 5
    waiting = asyncio.create_task(slots.acquire(100))
    await asyncio.sleep(1)
    assert not waiting.done()
    slots.release(2)
    assert await waiting == 2


@virtual
async def test_many_slots_are_given_out_by_handfuls_and_the_last_all_the_same() -> None:
    slots = admission(80)
    assert await slots.acquire(100) == 80
    waiting = asyncio.create_task(slots.acquire(100))
    slots.release(9)
    await asyncio.sleep(1)
    assert not waiting.done()
    slots.release(1)
    assert await waiting == 10
    slots.release(3)
    assert await slots.acquire(2) == 2


@virtual
async def test_more_adopted_than_allowed_start_nothing_until_they_are_ready() -> None:
    slots = admission(2, booting=5)
    waiting = asyncio.create_task(slots.acquire(1))
    slots.release(3)
    await asyncio.sleep(1)
    assert not waiting.done()
    slots.release(1)
    assert await waiting == 1


def test_nothing_of_nothing() -> None:
    assert Dice(INSTANT, 0, "a").seconds(StepKind.CLONE, Latency(spread=0.5), EMPTY) == 0.0
