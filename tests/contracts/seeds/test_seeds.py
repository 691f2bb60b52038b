"""Seeds: in a folder, and before a hypervisor's domains."""

from __future__ import annotations

import io
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pycdlib
import pytest
import yaml

from fleet.keys import Kin
from fleet.ranges import EMPTY, IndexSet
from fleet.v1 import types_pb2 as types
from fleet_agent.core.domain.disk_elements import defined_disk
from fleet_agent.core.domain.domain_mark import parsed
from fleet_agent.core.model import Batch
from fleet_agent.core.seed.seed_name import SeedName
from fleet_agent.drivers.hollow.behaviour import Behaviour
from fleet_agent.drivers.hollow.hypervisor import HollowHypervisor
from fleet_agent.drivers.seeds.folder import SeedFolder
from fleet_agent.drivers.seeds.seeded_hypervisor import SeededHypervisor
from tests.contracts.hypervisor.hypervisor_hosts import (
    FLEET,
    KIN,
    SPEC,
    LibvirtHost,
    batch,
    disk_of,
    gather,
)

TWO = IndexSet.of([0, 1])


def seeded(indices: IndexSet = TWO, user_data: str = "") -> Batch:
    spec = types.FleetSpec(identity=types.Identity(user_data=user_data))
    spec.MergeFrom(SPEC)
    return batch(indices, spec)


def content(path: str) -> dict[str, bytes]:
    """An image's files, read by the names that each of its two extensions has."""
    image = pycdlib.PyCdlib()
    image.open(path)
    found: dict[str, bytes] = {}
    for child in image.list_children(rr_path="/"):
        if not child.is_file():
            continue
        name = child.rock_ridge.name().decode()
        for way in ({"rr_path": f"/{name}"}, {"joliet_path": f"/{name}"}):
            written = io.BytesIO()
            image.get_file_from_iso_fp(written, **way)
            assert found.setdefault(name, written.getvalue()) == written.getvalue()
    assert image.pvd.volume_identifier.strip() == b"cidata"
    image.close()
    return found


@pytest.fixture
async def seeds(tmp_path: Path) -> AsyncIterator[SeedFolder]:
    folder = SeedFolder(tmp_path / "seeds")
    yield folder
    await folder.close()


async def test_a_seed_is_an_image_with_the_files_of_nocloud(seeds: SeedFolder) -> None:
    made = await seeds.make(seeded(user_data="#!/bin/sh\n"))
    assert (made.done, made.failures) == (TWO, ())
    path = seeds.path(seeded(), 1)
    files = content(path)
    assert files.keys() == {"meta-data", "user-data", "network-config"}
    assert yaml.safe_load(files["meta-data"])["local-hostname"] == "spv-1"
    assert files["user-data"] == b"#!/bin/sh\n"
    assert os.stat(path).st_mode & 0o777 == 0o600


async def test_64_kib_of_user_data_fit(seeds: SeedFolder) -> None:
    data = "#!/bin/sh\n" + "\u00e9" * (32 * 1024 - 5)
    await seeds.make(seeded(user_data=data))
    assert content(seeds.path(seeded(), 0))["user-data"] == data.encode()


async def test_what_exists_stays_and_what_is_half_made_is_made_anew(seeds: SeedFolder) -> None:
    await seeds.make(seeded())
    one, other = (Path(seeds.path(seeded(), index)) for index in TWO)
    before = one.stat().st_ino
    half = other.with_name(f".{other.name}.part")
    other.rename(half)
    half.write_bytes(half.read_bytes()[:1000])
    assert await seeds.listing() == {SeedName(KIN, 0)}
    assert not half.exists()
    assert (await seeds.make(seeded())).done == TWO
    assert one.stat().st_ino == before
    assert content(str(other))


async def test_another_birth_has_a_seed_of_its_own(seeds: SeedFolder) -> None:
    anew = replace(seeded(), kin=Kin(FLEET.uid, KIN.generation, KIN.birth + 1))
    await seeds.make(seeded())
    await seeds.make(anew)
    assert len(await seeds.listing()) == 4
    await seeds.remove({SeedName(KIN, 0), SeedName(KIN, 1)})
    assert await seeds.listing() == {SeedName(anew.kin, 0), SeedName(anew.kin, 1)}


async def test_what_is_no_seed_of_ours_stays(seeds: SeedFolder, tmp_path: Path) -> None:
    await seeds.make(seeded())
    stranger = tmp_path / "seeds" / "spv-0.iso"
    stranger.write_text("mine")
    await seeds.remove(await seeds.listing())
    assert await seeds.listing() == frozenset() and stranger.exists()


async def test_a_vm_that_cannot_be_told_fails_alone(seeds: SeedFolder) -> None:
    spec = types.FleetSpec(identity=types.Identity(user_data="{address}"))
    spec.network.prefix = "10.0.0.0/30"
    made = await seeds.make(batch(TWO, spec))
    assert made.done == IndexSet.of([0])
    (failure,) = made.failures
    assert (failure.index, failure.kind, failure.retry) == (1, "bad_spec", False)
    assert failure.message == "identity: 10.0.0.0/30 has no address for index 1"


async def test_a_folder_that_takes_nothing_is_a_reason_and_is_tried_again(tmp_path: Path) -> None:
    blocked = tmp_path / "seeds"
    blocked.write_text("")
    seeds = SeedFolder(blocked)
    made = await seeds.make(seeded())
    assert [one.kind for one in made.failures] == ["storage_error"] * 2
    assert all(one.retry and "cannot make a seed in" in one.message for one in made.failures)
    blocked.unlink()
    assert (await seeds.make(seeded())).done == TWO
    await seeds.close()


class TestBeforeAHypervisor:
    @pytest.fixture(params=["hollow", "libvirt"])
    def hypervisor(
        self, request: pytest.FixtureRequest, seeds: SeedFolder, tmp_path: Path
    ) -> SeededHypervisor:
        if request.param == "hollow":
            return SeededHypervisor(HollowHypervisor(Behaviour.of(), 250), seeds)
        self.host = LibvirtHost(tmp_path)
        return SeededHypervisor(self.host.driver(seeds.path), seeds)

    async def test_a_seed_is_there_before_its_domain_starts_and_goes_with_it(
        self, hypervisor: SeededHypervisor, seeds: SeedFolder
    ) -> None:
        await gather(hypervisor.define(seeded(), disk_of))
        assert await gather(hypervisor.start(seeded())) == (TWO, ())
        await hypervisor.listing()
        assert await seeds.listing() == {SeedName(KIN, 0), SeedName(KIN, 1)}
        await gather(hypervisor.undefine(seeded(IndexSet.of([1]))))
        await hypervisor.listing()
        assert await seeds.listing() == {SeedName(KIN, 0)}

    async def test_a_vm_without_an_identity_has_no_seed(
        self, hypervisor: SeededHypervisor, seeds: SeedFolder
    ) -> None:
        await gather(hypervisor.define(batch(TWO), disk_of))
        assert await gather(hypervisor.start(batch(TWO))) == (TWO, ())
        assert await seeds.listing() == frozenset()

    async def test_seeds_that_a_killed_agent_left_behind_are_swept(
        self, hypervisor: SeededHypervisor, seeds: SeedFolder
    ) -> None:
        await seeds.make(seeded())
        assert await hypervisor.listing() == ()
        assert await seeds.listing() == frozenset()

    async def test_a_vm_whose_seed_cannot_be_made_is_not_started(
        self, hypervisor: SeededHypervisor
    ) -> None:
        bad = seeded(user_data="{address}")
        await gather(hypervisor.define(bad, disk_of))
        done, failures = await gather(hypervisor.start(bad))
        assert (done, [one.kind for one in failures]) == (EMPTY, ["bad_spec"] * 2)

    async def test_a_seed_that_was_taken_away_is_made_anew_before_the_next_start(
        self, hypervisor: SeededHypervisor, seeds: SeedFolder
    ) -> None:
        await gather(hypervisor.define(seeded(), disk_of))
        await gather(hypervisor.start(seeded()))
        await gather(hypervisor.stop(seeded()))
        os.unlink(seeds.path(seeded(), 0))
        await gather(hypervisor.start(seeded()))
        assert len(await seeds.listing()) == 2


async def test_libvirt_keeps_the_seed_in_a_definition(seeds: SeedFolder, tmp_path: Path) -> None:
    host = LibvirtHost(tmp_path)
    driver = host.driver(seeds.path)
    assert await gather(driver.define(seeded(), disk_of)) == (TWO, ())
    xml = parsed(host.connection.lookupByName("spv-1").XMLDesc())
    assert defined_disk(xml, "xvdz").path == seeds.path(seeded(), 1)
    await driver.close()


async def test_a_host_that_keeps_no_seeds_says_so(tmp_path: Path) -> None:
    driver = LibvirtHost(tmp_path).driver()
    _, failures = await gather(driver.define(seeded(), disk_of))
    assert [one.kind for one in failures] == ["bad_spec"] * 2
    assert failures[0].message == "spv-0 has an identity; this host keeps no seeds"
    await driver.close()
