"""Hosts that are expelled while they answer, and readmitted, in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from fleet.transport import Peer, Role
from fleet_controller.core.model import DeniedRecord, Health
from fleet_controller.core.refusals import Reason, Refused
from fleet_controller.mirror.records import put_denied
from fleet_controller.mirror.state import ClusterState
from fleet_controller.replica.leader import Leader, OwnDenial
from fleet_controller.store.memory import MemoryStore
from tests.doubles import answers
from tests.doubles.leading import replica_over, until
from tests.doubles.scripted_agents import FakeDialer
from tests.in_process.six_hosts import HOSTS, ME, Stage, converged, kinds, play, told
from tests.virtual_loop import virtual

ASKING = Peer(Role.OPERATOR, "me")


async def expel(leader: Leader, host: str = "h0") -> None:
    assert leader.memory.is_live(host)
    assert leader.denials.given_up_by(host) == 4
    assert await leader.denials.expel(host, "it lies", ME) == 4


def test_a_host_is_expelled_while_it_answers_and_its_vms_are_placed_elsewhere() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        await expel(leader)
        assert leader.memory.links.get("h0") is None, "its link ends"
        await until(lambda: converged(leader))
        status = answers.fleet_status(leader, "spv")
        assert (status.duplicates, status.on_lost_hosts, status.releasing) == (4, 0, 0)
        elsewhere = {vm for vm, host in stage.world.running.items() if host != "h0"}
        assert len(elsewhere) == 24 and stage.agent("h0").births, "it was asked to stop nothing"
        summary = answers.host_summary(leader, "h0")
        assert summary.expelled == "it lies" and int(summary.health) == int(Health.LOST)
        assert answers.status(leader).hosts.expelled == 1
        assert kinds(leader)["host_expelled"] == 1
        assert told(leader, host="h0")[-1] == ("expel", ME, "4 VMs given up: it lies")

    play(scene)


def test_an_expelled_host_is_dialled_by_no_leader() -> None:
    async def before(leader: Leader, stage: Stage) -> None:
        await expel(leader)
        await until(lambda: converged(leader))
        stage.network.dialled.clear()

    async def after(leader: Leader, stage: Stage) -> None:
        await until(lambda: leader.memory.links.by_health[Health.LIVE] == HOSTS - 1)
        await asyncio.sleep(60)
        assert leader.memory.links.get("h0") is None
        assert "h0:1" not in stage.network.dialled
        assert leader.memory.state.hosts["h0"].lost
        assert not leader.memory.state.breaker.scopes

    play(before, after)


def test_a_readmitted_host_lets_go_of_what_others_have_and_gets_vms_again() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        await expel(leader)
        await until(lambda: converged(leader))
        await leader.denials.readmit("h0", ME)
        await until(lambda: not leader.memory.state.lost and not stage.world.twice)
        await until(lambda: not leader.planning.duplicates)
        assert not answers.host_summary(leader, "h0").expelled
        assert converged(leader) and not stage.agent("h0").births
        await leader.fleets.scale("spv", 44, ME)
        await until(lambda: converged(leader))
        assert stage.agent("h0").births

    play(scene)


def test_nothing_else_takes_an_expelled_host_back() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        await expel(leader)
        for ask in (
            leader.verdicts.declare_lost(["h0"], False, ME),
            leader.host_reset.reset("h0", ME),
        ):
            with pytest.raises(Refused, match="h0 is expelled: 'fleetctl hosts readmit h0'"):
                await ask
        with pytest.raises(Refused, match="agent/h1 is not denied"):
            await leader.denials.readmit("h1", ME)

    play(scene)


def test_a_name_that_no_host_has_is_denied_in_advance() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        assert await leader.denials.expel("h9", "a stolen key", ME) == 0
        assert list(leader.memory.state.denied) == ["agent/h9"]
        assert answers.status(leader).hosts.expelled == 0
        with pytest.raises(Refused, match="is not a name"):
            await leader.denials.expel("h/9", "a stolen key", ME)
        with pytest.raises(Refused, match="say why"):
            await leader.denials.expel("h9", " ", ME)

    play(scene)


def test_nobody_denies_himself_and_who_is_denied_denies_nobody() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        with pytest.raises(Refused, match="operator/me is you") as refused:
            await leader.denials.deny(ASKING, "why not", ME, ASKING)
        assert refused.value.reason is Reason.OWN_DENIAL
        other = Peer(Role.OPERATOR, "other")
        await leader.denials.deny(other, "left", ME, ASKING)
        with pytest.raises(Refused, match="operator/other is denied meanwhile"):
            await leader.denials.deny(ASKING, "revenge", str(other), other)
        await leader.denials.allow(other, ME)
        assert not leader.memory.state.denied
        changes = [one for one in told(leader) if one[0] in ("deny", "allow")]
        assert changes == [("deny", ME, "operator/other: left"), ("allow", ME, "operator/other")]

    play(scene)


def test_people_are_denied_while_changes_are_frozen_and_stay_so_after_a_recovery() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        await leader.recovery.begin("a drill", ME)

    async def frozen(leader: Leader, stage: Stage) -> None:
        await leader.denials.deny(Peer(Role.VIEWER, "eve"), "left", ME, ASKING)
        with pytest.raises(Refused, match="frozen"):
            await leader.denials.expel("h0", "it lies", ME)
        assert list(leader.memory.state.denied) == ["viewer/eve"]

    play(scene, frozen)


@virtual
async def test_a_controller_that_was_denied_does_not_lead() -> None:
    me = Peer(Role.CONTROLLER, "c1")
    store = MemoryStore(asyncio.get_running_loop().time)
    await store.txn([], [put_denied(DeniedRecord(me.role, me.name, "stolen", ME))])
    with pytest.raises(ExceptionGroup) as ended:
        await replica_over(store, FakeDialer(), holder=me).run()
    assert ended.group_contains(OwnDenial, match="controller/c1 is denied by operator/me: stolen")
    assert not (await store.read("leader")).entries, "it holds nobody up"


def test_a_name_is_denied_though_its_record_cannot_be_read() -> None:
    state = ClusterState()
    state.apply("denied/viewer/eve", b"{rubbish", 5)
    assert "denied/viewer/eve" in state.denied["viewer/eve"].reason
    state.apply("denied/viewer/eve", None, 6)
    assert not state.denied
