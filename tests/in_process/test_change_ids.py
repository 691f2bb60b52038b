"""The id of a change goes with all that follows from it: its line of the history, its events, and
what hosts are told, whoever leads by then. In virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import copy_context
from typing import Any

from fleet_controller.change_id import set_change_id
from fleet_controller.core.rollouts_and_drains.control import Action
from fleet_controller.core.rollouts_and_drains.rollout_orders import RolloutOptions
from fleet_controller.mirror.records import put_assignment
from fleet_controller.replica.leader import Leader
from fleet_controller.store import keys
from fleet_controller.store.port import Put
from tests.doubles.leading import until
from tests.in_process.six_hosts import HOSTS, ME, Stage, converged, do, newer, play


async def named(change: str, call: Coroutine[Any, Any, Any]) -> Any:
    """The call as one with this id."""
    context = copy_context()
    context.run(set_change_id, change)
    return await asyncio.create_task(call, context=context)


def told_hosts(leader: Leader) -> dict[str, str]:
    """With which id each host is told its assignment."""
    requests = {f"h{n}": leader.memory.assignment_message(f"h{n}") for n in range(HOSTS)}
    return {host: request.change_id for host, request in requests.items() if request}


def in_history(leader: Leader, change: str) -> list[str]:
    records, _ = leader.memory.state.audit.page("", "", 0, 1000)
    return [one.action for one in reversed(records) if one.change == change]


def in_events(leader: Leader, change: str) -> list[str]:
    events, _ = leader.memory.events.after(0, 10_000, "", "")
    return [one.kind for one in events if one.change_id == change]


def test_a_scale_is_told_by_its_id_in_history_events_and_to_hosts_whoever_leads() -> None:
    async def first(leader: Leader, stage: Stage) -> None:
        assert set(told_hosts(leader).values()) == {""}, "nobody has given that one an id"
        await named("c-scale", leader.fleets.scale("spv", 36, ME))
        await until(lambda: converged(leader))
        assert in_history(leader, "c-scale") == ["scale"]
        assert in_events(leader, "c-scale") == ["fleet_scaled"]
        assert "c-scale" in told_hosts(leader).values()
        await until(lambda: not leader.memory.events.unsaved)

    async def second(leader: Leader, stage: Stage) -> None:
        assert in_history(leader, "c-scale") == ["scale"]
        assert in_events(leader, "c-scale") == ["fleet_scaled"]
        assert "c-scale" in told_hosts(leader).values()

    play(first, second)


def test_what_the_planner_does_later_follows_from_the_drain_or_rollout_it_carries_on() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        await named("c-drain", leader.hosts.drain("h0", ME))
        await until(lambda: leader.memory.state.hosts["h0"].drained and converged(leader))
        assert in_history(leader, "c-drain") == ["drain", "drained"]
        assert in_events(leader, "c-drain") == ["host_draining", "host_drained"]
        assert told_hosts(leader)["h0"] == "c-drain"
        await named("c-apply", leader.fleets.apply("spv", newer(3), ME))
        options = RolloutOptions(max_unavailable=2)
        await named("c-roll", leader.rollouts.start("spv", options, ME, plan_only=False))
        await until(lambda: "rollout_done" in in_events(leader, "c-roll"))
        assert in_events(leader, "c-apply") == ["fleet_applied"]
        assert in_history(leader, "c-roll")[-1] == "rollout_done"
        holders = [f"h{n}" for n in range(1, HOSTS)]
        assert {told_hosts(leader)[one] for one in holders} == {"c-roll"}

    play(scene)


def test_what_is_done_to_vms_is_told_to_their_hosts_alone() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        await named("c-stop", do(leader, Action.STOP, "0"))
        await until(lambda: converged(leader))
        assert list(told_hosts(leader).values()).count("c-stop") == 1
        await leader.fleets.scale("spv", 30, ME)
        assert in_history(leader, "c-stop") == ["vms_stop"], "the next change is another one"

    play(scene)


def test_a_label_that_is_no_id_reaches_no_host_and_the_assignment_stands() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        state = leader.memory.state
        have = state.assignment("h1")
        named = put_assignment("h1", have, "c-1").value
        for label in (b'"No Id\\n"', b'"' + b"x" * 5000 + b'"', b"[7]", b"null"):
            written = Put(keys.assignment("h1"), named.replace(b'"c-1"', label))
            revision = (await stage.store.txn([], [written])).revision
            await until(lambda r=revision: state.assignment_revision("h1") == r)  # type: ignore[misc]
            assert told_hosts(leader)["h1"] == "" and state.assignment("h1") == have
        assert not len(state.broken)

    play(scene)
