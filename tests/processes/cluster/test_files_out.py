"""fleetctl vms copy out of all VMs of a cluster of hollow hosts, and what it costs the leader."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from fleet.transport import Role
from fleet_agent.drivers.hollow.guest_files import content_of
from tests.certificates import issue
from tests.processes.fleetctl_process import Fleetctl
from tests.processes.small_cluster import SmallCluster

pytest_plugins = ["tests.processes.cluster_fixtures"]
VMS, SIZE = 200, 1_000_000


def resident(pid: int) -> int:
    """Bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_every_vms_file_comes_and_the_leader_holds_none_of_them(
    cluster: SmallCluster, tmp_path: Path
) -> None:
    cluster.apply()
    cluster.scale_and_wait(VMS)
    uid = cluster.records()["spv"].uid
    fleetctl = Fleetctl(
        tmp_path, (cluster.controller.address,), issue(tmp_path / "alice", Role.OPERATOR, "alice")
    )
    folder = tmp_path / "out"
    said = fleetctl("vms", "copy", "spv:/var/log/app.log", str(folder))
    assert (said.code, said.out) == (0, f"{VMS} VMs: copied\n"), said
    for index in range(VMS):
        line, _ = content_of(uid, index, "/var/log/app.log")
        assert (folder / f"spv-{index}").read_bytes() == line
    before = resident(cluster.controller.pid)
    said = fleetctl("vms", "copy", f"spv:/tmp/{SIZE}", str(tmp_path / "large"))
    grown = resident(cluster.controller.pid) - before
    assert (said.code, said.out) == (0, f"{VMS} VMs: copied\n"), said
    # 191 MiB went through it.
    assert grown < 64 << 20, f"{grown:,} bytes"
    line, _ = content_of(uid, 7, f"/tmp/{SIZE}")
    whole = (line * (SIZE // len(line) + 1))[:SIZE]
    found = (tmp_path / "large" / "spv-7").read_bytes()
    block = line * (65536 // len(line))
    assert len(found) == SIZE and found[: len(block)] == whole[: len(block)]
    assert len({hashlib.sha256(one.read_bytes()).digest() for one in folder.iterdir()}) == VMS
    (line_of_history,) = [
        one
        for one in fleetctl("history", "-o", "json").json["records"]
        if one["action"] == "vms_copy_out" and str(SIZE) in one["after"]
    ]
    assert line_of_history["actor"] == "operator/alice"
