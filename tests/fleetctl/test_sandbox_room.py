"""What a sandbox foresees before it starts anything."""

from __future__ import annotations

import pytest

from fleetctl.sandbox.errors import SandboxError
from fleetctl.sandbox.planning.room import ETCD_BYTES, FEWEST_DESCRIPTORS, check_room


def test_too_few_open_files_are_said_before_anything_starts() -> None:
    with pytest.raises(SandboxError, match=r"may open 256 files here.*needs 512: .*ulimit -Hn"):
        check_room(256, 10 * ETCD_BYTES, 1, "/s")


def test_a_disk_too_small_for_etcd_is_said_before_it_panics() -> None:
    with pytest.raises(SandboxError, match=r"the disk of /s has 50 MiB free, .* takes 576 MiB"):
        check_room(FEWEST_DESCRIPTORS, 50 * 2**20, 3, "/s")
    check_room(FEWEST_DESCRIPTORS, 3 * ETCD_BYTES, 3, "/s")
    check_room(FEWEST_DESCRIPTORS, 0, 0, "/s")
