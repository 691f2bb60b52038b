"""What the agent before left on its host is opened by the agent of today (see kept/README.md)."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from fleet.keys import Epoch, Kin, Term
from fleet.ranges import IndexSet, parse_ranges
from fleet_agent.core.assignment import Tombstone
from fleet_agent.core.domain.differences import differences
from fleet_agent.core.domain.domain_mark import (
    ReadySeen,
    parse_mark,
    parse_ready,
    parse_restart,
    parsed,
)
from fleet_agent.core.domain.domain_xml import domain_xml
from fleet_agent.core.domain.flavour import Flavour
from fleet_agent.core.domain.marks import FIELDS, Marked, read_mark
from fleet_agent.core.images import ImageName
from fleet_agent.core.model import Batch, CloneRun, Mark
from fleet_agent.daemon.ledger_file import FileLedger
from fleet_agent.drivers.files.calls import golden_of, mark_of
from fleet_agent.drivers.files.images import FileImages
from fleet_agent.drivers.files.storage import FileStorage
from fleet_agent.drivers.zfs.calls import PROPERTY_PREFIX
from fleet_agent.reconcile.fencing import FencedAssignment, StaleEpoch, StaleTerm
from fleet_agent.reconcile.ledger import LedgerRecord
from tests.contracts.hypervisor.hypervisor_hosts import FLEET, disk_of, expecting
from tests.doubles.assignments import SPV, assign_request, assignment, shard, tombstone
from tests.doubles.assignments import parsed as wanted

KEPT = Path(__file__).parent / "kept"

MARK = Mark(Term(1, 10), Epoch(2, 20))
MARKED = Marked(Kin(FLEET.uid, 3, 41), 6, MARK)

SHARDS = (
    shard("0-4", 10, restart=17),
    shard("5-9,12", 11, generation=2, on=False),
)
TOMBSTONES = (tombstone(5, "7", 3), tombstone(6, "10", 10))
ACKNOWLEDGED = tombstone(4, "20-29", 9)


async def opened(folder: Path, boot_id: str = "boot-1") -> FencedAssignment:
    """From a copy of the kept ledger."""
    shutil.copy(KEPT / "ledger", folder)
    fenced = FencedAssignment("h1", FileLedger(folder / "ledger"), boot_id, "another")
    await fenced.open()
    return fenced


async def test_the_ledger_is_read_to_the_same_record(tmp_path: Path) -> None:
    fenced = await opened(tmp_path)
    assert fenced.record == LedgerRecord(
        "a-host-s-incarnation",
        "boot-1",
        Term(1, 60),
        Epoch(1, 101),
        assignment(*SHARDS, tombstones=TOMBSTONES).SerializeToString(deterministic=True),
        assignment(tombstones=[ACKNOWLEDGED], fleets=[SPV]).SerializeToString(deterministic=True),
    )


async def test_the_ledger_holds_the_assignment_and_what_was_acknowledged(tmp_path: Path) -> None:
    held = (await opened(tmp_path)).assignment
    asked = wanted(*SHARDS, tombstones=TOMBSTONES, past=[ACKNOWLEDGED])
    assert (held.fleets, held.specs, held.shards) == (asked.fleets, asked.specs, asked.shards)
    assert held.tombstones == (
        Tombstone(5, SPV.uid, IndexSet.of([7]), 3),
        Tombstone(6, SPV.uid, IndexSet.of([10]), 10),
    )
    assert held.past == (Tombstone(4, SPV.uid, parse_ranges("20-29"), 9),)


async def test_the_ledger_goes_on_fencing(tmp_path: Path) -> None:
    fenced = await opened(tmp_path)
    same = assignment(*SHARDS, tombstones=TOMBSTONES)
    assert not await fenced.accept(assign_request("h1", same, 101, term=60))
    with pytest.raises(StaleTerm):
        await fenced.accept(assign_request("h1", same, 102, term=59))
    with pytest.raises(StaleEpoch):
        await fenced.accept(assign_request("h1", same, 100, term=60))
    with pytest.raises(StaleEpoch, match="another assignment"):
        await fenced.accept(assign_request("h1", assignment(*SHARDS), 101, term=60))


@pytest.mark.parametrize(("boot_id", "awaits"), [("boot-1", False), ("boot-2", True)])
async def test_the_ledger_tells_a_reboot(tmp_path: Path, boot_id: str, awaits: bool) -> None:
    assert (await opened(tmp_path, boot_id)).awaits_assign is awaits


async def test_a_cloned_file_and_its_image_are_ours(tmp_path: Path) -> None:
    for name, attributes in json.loads((KEPT / "file_attributes.json").read_text()).items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(4096))
        for attribute, value in attributes.items():
            os.setxattr(path, attribute, value.encode())
    clone = tmp_path / "clones" / "spv-6"
    assert (mark_of(clone), golden_of(clone)) == (MARKED, "golden@g")
    storage, images = FileStorage(tmp_path), FileImages(tmp_path)
    assert await storage.listing() == (CloneRun(MARKED.kin, IndexSet.of([6])),)
    image = (await images.holdings()).get(ImageName("golden", "g"))
    assert image is not None and image.clones == 1
    assert image.source == "/tmp/kept/golden.raw"
    assert image.digest == (
        "sha256:fbbab289f7f94b25736c58be46a994c441fd02552cc6022352e3d86d2fab7c83"
    )
    await images.close()
    await storage.close()


def test_a_cloned_volume_is_ours() -> None:
    properties = json.loads((KEPT / "volume_properties.json").read_text())
    assert sorted(properties) == sorted(PROPERTY_PREFIX + field for field in FIELDS)
    assert read_mark({field: properties[PROPERTY_PREFIX + field] for field in FIELDS}) == MARKED


def test_a_domain_is_ours_with_what_was_seen_of_it() -> None:
    domain = parsed((KEPT / "domain.xml").read_text())
    assert parse_mark(domain) == MARKED
    assert parse_restart(domain) == 17
    assert parse_ready(domain) == ReadySeen("boot-1", 1, log_inode=9994556, log_read=15)


def test_a_domain_is_not_defined_anew() -> None:
    batch = Batch(FLEET, MARKED.kin, expecting("READY", timeout=30), MARK, IndexSet.of([6]))
    asked = domain_xml(batch, 6, disk_of(batch, 6), Flavour.TEST, "")
    assert not differences(asked, (KEPT / "domain.xml").read_text())
