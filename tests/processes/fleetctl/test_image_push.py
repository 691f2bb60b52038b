"""fleetctl images push, spread and list --places, and commands for many hosts, as people run them
against a whole cluster of hollow hosts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.transport import Role
from tests.certificates import issue
from tests.processes.fleetctl_process import Fleetctl
from tests.processes.small_cluster import SmallCluster

HOSTS = [f"hollow-0000{number}" for number in range(1, 7)]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallCluster]:
    folder = tmp_path_factory.mktemp("cluster")
    with SmallCluster(folder, hosts=len(HOSTS), per_host=4, processes=2) as running:
        yield running


@pytest.fixture
def fleetctl(tmp_path: Path, small: SmallCluster) -> Fleetctl:
    alice = issue(tmp_path / "alice", Role.OPERATOR, "alice")
    return Fleetctl(tmp_path, (small.controller.address,), alice)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    file = tmp_path / "disk.raw"
    file.write_bytes(os.urandom(3 << 20) + bytes(1 << 20))
    return file


def test_an_image_is_pushed_once_and_then_on_all_hosts(fleetctl: Fleetctl, disk: Path) -> None:
    kernel = disk.with_name("vmlinuz")
    kernel.write_bytes(b"a kernel")
    said = fleetctl("images", "push", "golden@2", str(disk), "--kernel", str(kernel), "--all")
    assert said.code == 0, said
    first, boot, last = said.out.splitlines()
    assert first.startswith("golden@2: on hollow-00001, 4.0 MiB, sha256:")
    assert boot == "  boot.kernel: /var/lib/megafleet/kernels/golden+2.kernel"
    assert last.startswith("golden@2: 6 of 6 hosts have it")
    (place,) = fleetctl("images", "list", "--places", "-o", "json").json["images"]
    assert place["have"] == HOSTS and not place["lack"] and not place["other"]
    again = fleetctl("images", "push", "golden@2", str(disk), "--kernel", str(kernel), "--all")
    assert again.code == 0 and "6 of 6 hosts have it" in again.out


def test_hosts_that_lack_an_image_or_have_another_under_its_name_are_named(
    fleetctl: Fleetctl, disk: Path
) -> None:
    other = disk.with_name("other.raw")
    other.write_bytes(os.urandom(1 << 20))
    for file, host in ((disk, HOSTS[0]), (other, HOSTS[1])):
        said = fleetctl("images", "push", "mixed@1", str(file), "--host", host, "-o", "json")
        assert said.json["upload"]["host"] == host and said.json["spread"] is None
    places = [
        one
        for one in fleetctl("images", "list", "--places", "-o", "json").json["images"]
        if one["image"] == "mixed@1"
    ]
    assert [(one["have"], one["other"]) for one in places] in (
        [([HOSTS[0]], [HOSTS[1]]), ([HOSTS[1]], [HOSTS[0]])],
        [([HOSTS[1]], [HOSTS[0]]), ([HOSTS[0]], [HOSTS[1]])],
    )
    assert all(one["lack"] == HOSTS[2:] for one in places)
    said = fleetctl("images", "spread", "mixed@1", "--all")
    assert said.code == 1
    assert "hosts have different contents under the name mixed@1" in said.err
    digest = next(one["digest"] for one in places if one["have"] == [HOSTS[0]])
    said = fleetctl("images", "spread", "mixed@1", "--all", "--digest", digest, "-o", "json")
    assert said.code == 1 and said.json["spread"]["held"] == 5
    (failed,) = said.json["spread"]["failed"]
    assert failed["host"] == HOSTS[1] and "is here with the digest" in failed["why"]


def test_what_cannot_be_pushed_is_said_in_a_sentence(fleetctl: Fleetctl, disk: Path) -> None:
    empty = disk.with_name("empty")
    empty.touch()
    host = ("--host", HOSTS[0])
    for arguments, code, words in (
        (("golden@3", str(disk.with_name("none")), *host), 1, "No such file or directory"),
        (("golden@3", str(empty), *host), 1, "has 0 bytes"),
        (("golden@3", str(disk)), 2, "there are 6 live hosts: name some"),
        (("golden@3", str(disk), "--all", *host), 2, "one of the three"),
        (("golden@3", str(disk), "--label", "rack=none"), 1, "no live host is labelled rack=none"),
        (("golden@3", str(disk), "--host", "nope"), 1, "there is no host 'nope'"),
        (
            ("golden@3", str(disk), *host, "--digest", f"sha256:{'0' * 64}"),
            0,  # a hollow host has nothing to take a digest of
            "",
        ),
    ):
        said = fleetctl("images", "push", *arguments)
        assert said.code == code and words in said.err, said


def test_hosts_that_agree_are_one_line(fleetctl: Fleetctl) -> None:
    lines = fleetctl("doctor", "--all").out.splitlines()
    assert lines[1].split()[0] == "6" and lines[1].endswith("4 VMs fit") and len(lines) == 2
    lines = fleetctl("tune", *HOSTS[:2]).out.splitlines()
    assert lines[1].endswith("nothing to change") and "hollow-00001, hollow-00002" in lines[1]
    said = fleetctl("hosts", "cordon", HOSTS[0], HOSTS[1], "nope")
    assert said.code == 1 and "1 host of 3 could not be changed" in said.err
    rows = [line.split(maxsplit=1)[0] for line in said.out.splitlines()[1:]]
    assert rows == ["2", "1"] and "there is no host 'nope'" in said.out
    said = fleetctl("hosts", "uncordon", "--all", "-o", "json")
    assert [one["host"] for one in said.json["hosts"]] == HOSTS
    assert not any(one["cordoned"] or one["error"] for one in said.json["hosts"])
    said = fleetctl("images", "import", "made@1", "/srv/disk.raw", "--label", "rack=r01")
    assert said.code == 0 and said.out.splitlines()[1].split()[0] == "6"


def test_several_hosts_are_drained_together(fleetctl: Fleetctl, small: SmallCluster) -> None:
    small.apply()
    small.scale_and_wait(8)
    lines = fleetctl("hosts", "drain", *HOSTS[:2], "--plan").out.splitlines()
    assert len(lines) == 2 or len(lines) == 3
    said = fleetctl("hosts", "drain", *HOSTS[:2], "--yes", "--timeout", "40")
    assert said.code == 0, said
    assert "drained: nothing is left on it" in said.out
    held = small.assignments()
    assert not any(held[host].shards for host in HOSTS[:2] if host in held)
    said = fleetctl("hosts", "drain", *HOSTS[:2], "--cancel")
    assert said.code == 0 and "not drained any more" in said.out


def test_drains_that_a_deadline_ends_are_not_told_as_done(
    fleetctl: Fleetctl, small: SmallCluster
) -> None:
    small.apply()
    small.scale_and_wait(24)  # no host has room for what another has
    said = fleetctl("hosts", "drain", *HOSTS[:2], "--yes", "--deadline", "2", "-o", "json")
    why = "its drain was stopped or cancelled: 4 VMs are left on it"
    assert said.code == 1 and "2 hosts of 2 could not be drained" in said.err, said
    assert said.json["hosts"] == [{"host": host, "error": why} for host in HOSTS[:2]]
    assert small.status().hosts.draining == 0
