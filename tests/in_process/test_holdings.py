"""What hosts have decides which of them gets VMs; what they come to have places the rest by
itself."""

from __future__ import annotations

import asyncio

import pytest

from fleet.v1 import types_pb2 as types
from fleet_controller.changes.announcements import CHANGES
from fleet_controller.core.announced_holdings import (
    MAX_BRIDGES,
    MAX_FILES,
    MAX_FOLDERS,
    MAX_IMAGES,
    announced_holdings,
    told_holdings,
)
from fleet_controller.core.refusals import Reason, Refused
from fleet_controller.replica.leader import Leader
from tests.doubles import answers
from tests.doubles.leading import until
from tests.in_process.six_hosts import ME, PER_HOST, SPEC, Stage, converged, play

DIGEST = f"sha256:{'a' * 64}"
HAS_NONE = types.HostFacts(images=types.ImagesHeld())
HAS_GOLDEN = types.HostFacts(
    images=types.ImagesHeld(images=[types.Image(name="golden", snapshot="1", digest=DIGEST)])
)
ASKS = types.FleetSpec()
ASKS.CopyFrom(SPEC)
ASKS.image.name, ASKS.image.snapshot = "golden", "1"


async def announce(leader: Leader, host: str, holdings: types.HostFacts) -> None:
    """Again, with all it said before."""
    facts = types.HostFacts()
    facts.CopyFrom(answers.host_detail(leader, host).facts)
    for part in ("images", "kernels", "bridges"):
        facts.ClearField(part)
    facts.MergeFrom(holdings)
    address = leader.memory.state.hosts[host].address
    await leader.announcements.announce(host, address, facts)


def unplaced(leader: Leader) -> list[tuple[str, int, str]]:
    found = answers.fleet_status(leader, "spv").unplaced_reasons
    return [(one.reason, one.count, one.message) for one in found]


def test_vms_are_placed_by_themselves_once_an_image_is_imported() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        hosts = sorted(leader.memory.state.hosts)
        for host in hosts:
            await announce(leader, host, HAS_NONE)
        with pytest.raises(Refused, match=f"{len(hosts)} hosts lack golden@1"):
            await leader.fleets.scale("spv", 2 * PER_HOST, ME)
        await leader.fleets.scale("spv", 2 * PER_HOST, ME, partial=True)
        await until(lambda: bool(unplaced(leader)))
        assert unplaced(leader)[0][:2] == ("lacks_image", 2 * PER_HOST)
        await announce(leader, hosts[0], HAS_GOLDEN)
        await until(lambda: answers.host_summary(leader, hosts[0]).running == PER_HOST)
        assert "5 more hosts lack golden@1" in unplaced(leader)[0][2]
        await announce(leader, hosts[1], HAS_GOLDEN)
        await until(lambda: converged(leader))
        assert not unplaced(leader)
        for host in hosts[:2]:
            assert answers.host_summary(leader, host).running == PER_HOST

    play(scene, total=0, spec=ASKS)


def test_a_pinned_host_gets_vms_by_what_it_has_all_the_same() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        host = sorted(leader.memory.state.hosts)[0]
        await leader.host_claims.pin(host, {}, ME)
        await announce(leader, host, HAS_GOLDEN)
        held = leader.memory.state.hosts[host].holdings
        assert [(one.name, one.digest) for one in held.images or ()] == [("golden", DIGEST)]

    play(scene)


def test_hosts_with_equal_holdings_share_them() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        hosts = sorted(leader.memory.state.hosts)
        for host in hosts:
            await announce(leader, host, HAS_GOLDEN)
        kept = {id(leader.memory.state.hosts[host].holdings) for host in hosts}
        assert len(kept) == 1

    play(scene)


def test_a_host_that_keeps_changing_its_mind_is_written_a_few_times_and_then_seldom() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        host = sorted(leader.memory.state.hosts)[0]
        await asyncio.sleep(CHANGES.burst / CHANGES.per_second)
        before = leader.memory.state.revision
        for number in range(21):
            await announce(leader, host, HAS_GOLDEN if number % 2 else HAS_NONE)
        assert leader.memory.state.revision - before == CHANGES.burst
        await asyncio.sleep(2 / CHANGES.per_second)
        assert leader.memory.state.revision - before == CHANGES.burst + 1, "the newest alone"

    play(scene)


@pytest.mark.parametrize(
    "told",
    [
        types.HostFacts(
            images=types.ImagesHeld(
                images=[types.Image(name=f"i{n}", snapshot="1") for n in range(MAX_IMAGES + 1)]
            )
        ),
        types.HostFacts(
            kernels=types.KernelsHeld(files=[f"/boot/k{n}" for n in range(MAX_FILES + 1)])
        ),
        types.HostFacts(
            kernels=types.KernelsHeld(folders=[f"/k{n}" for n in range(MAX_FOLDERS + 1)])
        ),
        types.HostFacts(
            bridges=types.BridgesHeld(names=[f"br{n}" for n in range(MAX_BRIDGES + 1)])
        ),
    ],
)
def test_a_host_names_only_so_much_of_what_it_has(told: types.HostFacts) -> None:
    with pytest.raises(Refused) as refusal:
        announced_holdings(told)
    assert refusal.value.reason is Reason.BAD_ANNOUNCE


def test_what_no_fleet_can_name_is_left_out() -> None:
    odd = types.HostFacts(
        images=types.ImagesHeld(
            images=[
                types.Image(name="../x", snapshot="1"),
                types.Image(name="golden", snapshot="1", digest="md5:1"),
                types.Image(name="golden", snapshot="2"),
            ]
        ),
        kernels=types.KernelsHeld(folders=["/boot", "x"], files=["/boot/\x1b[31m", "/boot/ok"]),
        bridges=types.BridgesHeld(names=["br0", "-br", "a" * 16]),
    )
    held = announced_holdings(odd)
    assert [(one.name, one.snapshot) for one in held.images or ()] == [("golden", "2")]
    assert (held.kernel_folders, held.kernel_files) == (("/boot",), ("/boot/ok",))
    assert held.bridges == ("br0",)


def test_holdings_are_told_as_they_were_announced() -> None:
    told = types.HostFacts()
    told.CopyFrom(HAS_GOLDEN)
    told.kernels.CopyFrom(types.KernelsHeld(folders=["/boot"], files=["/boot/a", "/boot/b"]))
    told.bridges.CopyFrom(types.BridgesHeld(names=["br0"], more=True))
    assert told_holdings(announced_holdings(told)) == told
    assert told_holdings(announced_holdings(types.HostFacts())) == types.HostFacts()
