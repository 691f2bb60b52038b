"""What is said to zfs(8) about images, and what is made of its answers, with a stand-in for it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from fleet_agent.drivers.ports.errors import DriverError
from fleet_agent.drivers.zfs.calls import DIGEST, ZfsError
from fleet_agent.drivers.zfs.holdings import fleets_of, images_of, volumes_of
from fleet_agent.drivers.zfs.image_calls import IMPORTING, SOURCE, HostZfsImages, SourceDataset
from tests.contracts.storage.storage_hosts import FakeZfs

# As `zfs list -H -p` of ZFS 2.3 prints it, tabs for the blanks here.
LISTING = """\
tank/golden 8454144 8429568 16777216 0 - - 1700000000 20 - - - - - - - - -
tank/golden@1 24576 8429568 16777216 8429568 tank/spv-0,tank/spv-1 - 1700000009 31 sha256:5e /srv/x - - - - - - -
tank/half 8192 8192 1048576 0 - - 1700000020 40 - - tank - - - - - -
tank/spv-0 4096 8429568 16777216 4096 - tank/golden@1 1700000030 50 - - - u 0 3 41 1:10 1:20
tank/spv-1 8192 8433664 16777216 8192 - tank/golden@1 1700000031 51 - - - u 1 3 41 1:10 1:20
tank/spv-1@mine 0 8433664 16777216 0 - - 1700000032 52 - - - u 1 3 41 1:10 1:20
tank/deep/golden 1 1 1 0 - - 1700000040 60 - - - - - - - - -
""".replace(" ", "\t")  # noqa: E501


class Zfs:
    """A program called zfs that says what it is told to, and notes what was said to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.says("")

    def says(self, out: str = "", err: str = "", code: int = 0, script: str = "") -> None:
        (self.folder / "out").write_text(out)
        (self.folder / "err").write_text(err)
        program = self.folder / "zfs"
        program.write_text(
            f'#!/bin/sh\ncd {self.folder}\nprintf "%s\\n" "$*" >>said\n'
            f"{script or f'cat out; cat err >&2; exit {code}'}\n"
        )
        program.chmod(0o755)

    @property
    def heard(self) -> list[str]:
        said = self.folder / "said"
        return said.read_text().splitlines() if said.exists() else []


@pytest.fixture
def zfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Zfs:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return Zfs(tmp_path)


@pytest.fixture
def calls() -> HostZfsImages:
    return HostZfsImages(FakeZfs())


def test_one_listing_tells_images_fleets_and_what_is_half_made(
    zfs: Zfs, calls: HostZfsImages
) -> None:
    zfs.says(LISTING)
    volumes = volumes_of(calls.entries("tank"), "tank")
    assert zfs.heard[0].startswith("list -H -p -d 2 -t volume,snapshot -o name,used,")
    assert sorted(volumes) == ["golden", "half", "spv-0", "spv-1"]
    assert volumes["half"].entry.importing == "tank"
    (image,) = images_of(volumes)
    assert (str(image.image), image.digest, image.source) == ("golden@1", "sha256:5e", "/srv/x")
    assert (image.size, image.clones, image.created) == (16777216, 2, 1700000009)
    assert (image.space.referenced, image.space.unique) == (8429568, 8454144)
    (fleet,) = fleets_of(volumes)
    assert (fleet.uid, fleet.clones) == ("u", 2)
    assert (fleet.space.referenced, fleet.space.unique) == (8429568 + 8433664, 4096 + 8192)


def test_what_is_said_to_change_something(zfs: Zfs, calls: HostZfsImages) -> None:
    zfs.says("default\n")
    calls.create("tank/_import-1", 1 << 20, "tank")
    calls.snapshot("tank/_import-1@g", {DIGEST: "sha256:5e", SOURCE: "/srv/a b"})
    calls.rename("tank/_import-1", "tank/golden")
    calls.set_properties("tank/golden", {IMPORTING: "tank"})
    calls.clear("tank/golden", IMPORTING)
    calls.roll_back("tank/golden@g")
    calls.destroy("tank/golden@g")
    assert zfs.heard == [
        "get -H -o value volmode tank",
        "create -s -b 16384 -V 1048576 -o volmode=dev -o megafleet:importing=tank tank/_import-1",
        "snapshot -o megafleet:digest=sha256:5e -o megafleet:source=/srv/a b tank/_import-1@g",
        "rename tank/_import-1 tank/golden",
        "set megafleet:importing=tank tank/golden",
        "inherit megafleet:importing tank/golden",
        "rollback tank/golden@g",
        "destroy tank/golden@g",
    ]


def test_volmode_is_inherited_where_the_parent_has_it(zfs: Zfs, calls: HostZfsImages) -> None:
    zfs.says("dev\n")
    calls.create("tank/_import-1", 1 << 20, "tank")
    assert "volmode=dev" not in zfs.heard[-1]


@pytest.mark.parametrize(
    ("said", "number"),
    [
        ("cannot create 'tank/x': out of space", errno.ENOSPC),
        ("cannot create 'tank/x': dataset already exists", errno.EEXIST),
        ("cannot destroy 'tank/x': dataset is busy", errno.EBUSY),
        ("cannot open 'tank/x': dataset does not exist", errno.ENOENT),
        ("cannot create 'tank/x': permission denied", errno.EPERM),
        ("something else", errno.EIO),
    ],
)
def test_refusals_are_numbered(zfs: Zfs, calls: HostZfsImages, said: str, number: int) -> None:
    zfs.says(err=f"{said}\n", code=1)
    with pytest.raises(ZfsError, match=said) as caught:
        calls.destroy("tank/x")
    assert caught.value.number == number
    with pytest.raises(DriverError, match=said):
        calls.entries("tank")


def test_a_stream_goes_from_one_program_to_the_other(zfs: Zfs, calls: HostZfsImages) -> None:
    zfs.says(
        script="case $1 in get) echo dev;; send) head -c 3000000 /dev/zero;; *) cat >got;; esac"
    )
    told: list[int] = []
    calls.receive("tank/x@s", "tank/_import-1", "tank", told.append)
    assert (zfs.folder / "got").stat().st_size == told[-1] == 3_000_000
    assert "receive -o megafleet:importing=tank tank/_import-1" in zfs.heard
    assert "send tank/x@s" in zfs.heard


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("send) head -c 9000000 /dev/zero;; *) echo 'out of space' >&2; exit 1", "out of space"),
        ("send) echo 'no such snapshot' >&2; exit 1;; *) cat >got", "no such snapshot"),
    ],
)
def test_a_stream_that_fails_is_told_by_whoever_failed(
    zfs: Zfs, calls: HostZfsImages, script: str, said: str
) -> None:
    zfs.says(script=f"case $1 in get) echo dev;; {script};; esac")
    with pytest.raises(ZfsError, match=said):
        calls.receive("tank/x@s", "tank/_import-1", "tank", lambda _: None)


def test_a_stream_that_nobody_wants_any_more_ends_both(zfs: Zfs, calls: HostZfsImages) -> None:
    zfs.says(script="case $1 in get) echo dev;; send) exec yes;; *) exec cat >/dev/null;; esac")

    def told(sent: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        calls.receive("tank/x@s", "tank/_import-1", "tank", told)


def test_what_a_source_is(zfs: Zfs, calls: HostZfsImages) -> None:
    assert calls.source("tank/gone") is None
    script = 'case $* in *type*) echo volume;; *) printf "1048576\\t4096\\n";; esac'
    zfs.says(script=script)
    assert calls.source("tank/golden@g") == SourceDataset("volume", 1 << 20, 4096)
    assert zfs.heard[-1] == "list -H -o type tank/golden"


def test_snapshots_left_behind_are_those_with_the_mark(zfs: Zfs, calls: HostZfsImages) -> None:
    zfs.says("a/b@megafleet-import-1\ttank\na/b@megafleet-import-2\tother\na/b@x\t-\n")
    assert calls.left_snapshots("tank") == ["a/b@megafleet-import-1"]
