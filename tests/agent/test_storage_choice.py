"""Which storage an agent takes: as the settings say, else by what the host has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from fleet_agent.core.domain.disks import CloneWay as Way
from fleet_agent.daemon import storage_choice as choices
from fleet_agent.daemon.settings import BadSettings, Hypervisor, Settings, Storage
from fleet_agent.daemon.storage_choice import StorageChoice, storage_choice
from fleet_agent.drivers.files.ways import FOR_ALL, FOR_QEMU, OVERLAYS, taken, way_in_words

XEN, SYSTEM, SESSION = "xen:///system", "qemu:///system", "qemu:///session"


def chosen(uri: str, pool: str = "", **asked: Any) -> StorageChoice:
    settings = Settings(
        ledger="/srv/a/ledger", hypervisor=Hypervisor(uri=uri), storage=Storage(**asked)
    )
    return storage_choice(settings, lambda name: name == pool)


@pytest.mark.parametrize(
    ("uri", "pool", "asked", "kind", "parent"),
    [
        (XEN, "", {}, "zfs", "tank"),
        (XEN, "", {"parent": "/srv/fleet"}, "files", "/srv/fleet"),
        (SYSTEM, "tank", {}, "zfs", "tank"),
        (SYSTEM, "", {}, "files", "/srv/a/storage"),
        (SYSTEM, "other", {}, "files", "/srv/a/storage"),
        (SESSION, "", {"parent": "/home/u/fleet"}, "files", "/home/u/fleet"),
        (SYSTEM, "", {"parent": "pool/fleet"}, "zfs", "pool/fleet"),
        # What was valid before a choice was made stays what it was.
        (SYSTEM, "", {"kind": "zfs"}, "zfs", "tank"),
        (XEN, "", {"kind": "zfs", "parent": "p/f"}, "zfs", "p/f"),
        (XEN, "", {"kind": "reflink", "parent": "/srv/f"}, "reflink", "/srv/f"),
        (SYSTEM, "", {"kind": "reflink", "parent": "/srv/f"}, "reflink", "/srv/f"),
        (SYSTEM, "", {"kind": "overlay", "parent": "/srv/f"}, "overlay", "/srv/f"),
        (SYSTEM, "tank", {"kind": "files"}, "files", "/srv/a/storage"),
    ],
)
def test_the_storage_is_what_is_asked_for_else_what_the_host_has(
    uri: str, pool: str, asked: dict[str, Any], kind: str, parent: str
) -> None:
    choice = chosen(uri, pool, **asked)
    assert (choice.kind, choice.parent) == (kind, parent)
    assert (choice.why == "storage.kind says so") == ("kind" in asked)


def test_only_a_folder_that_nobody_named_is_the_agents_to_make() -> None:
    assert chosen(SYSTEM).own
    assert not chosen(SYSTEM, parent="/srv/fleet").own


def test_overlays_on_xen_are_refused_by_name() -> None:
    with pytest.raises(BadSettings, match=r"storage\.kind overlay is for QEMU alone"):
        chosen(XEN, kind="overlay", parent="/srv/fleet")


@pytest.mark.parametrize(
    ("ways", "shares", "way", "words"),
    [
        (FOR_QEMU, True, Way.REFLINK, "reflink"),
        (FOR_QEMU, False, Way.OVERLAY, "qcow2 overlay (no reflink)"),
        (FOR_ALL, True, Way.REFLINK, "reflink"),
        (FOR_ALL, False, Way.COPY, "copy (no reflink)"),
        (OVERLAYS, False, Way.OVERLAY, "qcow2 overlay"),
    ],
)
def test_the_first_way_that_the_file_system_allows_is_taken_and_told(
    ways: tuple[Way, ...], shares: bool, way: Way, words: str
) -> None:
    assert taken(ways, shares) is way
    assert way_in_words(ways, way) == words


def test_what_was_found_at_the_first_start_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pool that is not imported after a reboot is no reason to make all VMs anew in a folder."""
    asked = Settings(ledger=str(tmp_path / "new" / "ledger"), hypervisor=Hypervisor(uri=SYSTEM))
    pools = {"tank"}
    monkeypatch.setattr(choices, "has_pool", lambda name: name in pools)
    assert choices.settled_choice(asked).kind == "zfs"
    pools.clear()
    again = choices.settled_choice(asked)
    assert (again.kind, again.why) == ("zfs", "a pool tank was found at an earlier start")
    (tmp_path / "new" / choices.MEMORY).write_bytes(b"\xff")
    assert choices.settled_choice(asked).kind == "files"
    pools.add("tank")
    assert choices.settled_choice(asked).kind == "files"
    named = replace(asked, storage=Storage(kind="zfs"))
    assert choices.settled_choice(named).why == choices.NAMED
