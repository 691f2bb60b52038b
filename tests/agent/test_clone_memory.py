"""What a clone takes of the host's memory, beside the template that it shares with others."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet_agent.drivers.qemu.host_memory import MIB, clone_bytes

_TMPFS = Path("/dev/shm")
_SHARED, _OWN = 128, 8
# Reads all of a file that it shares with others, and writes on its own copy of some pages.
_CLONE = f"""
import mmap, sys
with open(sys.argv[1], "rb") as file:
    both = mmap.PROT_READ | mmap.PROT_WRITE
    memory = mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=both)
for page in range(0, len(memory), mmap.PAGESIZE):
    memory[page]
memory[: {_OWN} * {MIB}] = bytes({_OWN} * {MIB})
print("mapped", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def template() -> Iterator[Path]:
    if not _TMPFS.is_dir():
        pytest.skip(f"there is no {_TMPFS}")
    with tempfile.NamedTemporaryFile(dir=_TMPFS) as file:
        file.write(b"\1" * (_SHARED * MIB))
        file.flush()
        yield Path(file.name)


def test_a_single_clone_does_not_bear_all_of_its_template(template: Path) -> None:
    command = [sys.executable, "-c", _CLONE, str(template)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as clone:
        assert clone.stdout is not None and clone.stdout.readline() == "mapped\n"
        taken = clone_bytes([clone.pid]) / MIB
        clone.communicate()
    assert _OWN <= taken < _SHARED / 2


def test_clones_that_have_ended_are_left_out() -> None:
    assert clone_bytes([2**22 + 1]) == 0
    assert clone_bytes([]) == 0


def test_kernels_that_tell_no_more_than_the_sum_are_taken_at_their_word(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "smaps_rollup").write_text("0-1 ---p 0 00:00 0 [rollup]\nPss:  2048 kB\n")
    assert clone_bytes([7], tmp_path) == 2 * MIB
