"""What every ledger does alike, and what only a file can suffer."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fleet.keys import Epoch, Term
from fleet_agent.daemon.ledger_file import FileLedger, decode, encode
from fleet_agent.reconcile.ledger import (
    Ledger,
    LedgerBroken,
    LedgerError,
    LedgerFull,
    LedgerRecord,
    MemoryLedger,
)

FIRST = LedgerRecord("incarnation-1", "boot-1", Term(1, 2), Epoch(1, 3), b"assignment")
SECOND = LedgerRecord("incarnation-1", "boot-2", Term(1, 4), Epoch(1, 5), b"another " * 1000)

Reopen = Callable[[], Ledger]


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as made:
        yield made


@pytest.fixture(params=["file", "memory"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path, executor: ThreadPoolExecutor) -> Reopen:
    """Opens the ledger as an agent's next process would."""
    if request.param == "memory":
        only = MemoryLedger()
        return lambda: only
    return lambda: FileLedger(tmp_path / "ledger", executor)


async def test_a_new_ledger_has_no_record(reopen: Reopen) -> None:
    assert await reopen().load() is None


async def test_what_was_saved_is_there_for_the_next_process(reopen: Reopen) -> None:
    await reopen().save(FIRST)
    assert await reopen().load() == FIRST


async def test_a_ledger_is_its_owners_alone(tmp_path: Path) -> None:
    ledger = FileLedger(tmp_path / "ledger")
    (tmp_path / "ledger.new").write_text("left by an agent that was killed")
    (tmp_path / "ledger.new").chmod(0o666)
    await ledger.save(FIRST)
    assert stat.S_IMODE((tmp_path / "ledger").stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777])
async def test_a_ledger_in_a_folder_that_others_may_write_is_refused(
    tmp_path: Path, mode: int
) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(LedgerError, match=f"may be written by others .*: chmod go-w {folder}$"):
        await FileLedger(folder / "ledger").load()


async def test_the_last_save_stands(reopen: Reopen) -> None:
    ledger = reopen()
    await ledger.save(FIRST)
    await ledger.save(SECOND)
    assert await ledger.load() == SECOND
    assert await reopen().load() == SECOND


def test_a_record_survives_its_encoding() -> None:
    assert decode(encode(SECOND)) == SECOND


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda data: b"", "does not begin as a ledger"),
        (lambda data: data[:-1], "checksum"),
        (lambda data: data[:60] + b"?" + data[61:], "checksum"),
        (lambda data: b"fleet-ledger 9\n" + data[15:], "does not begin as a ledger"),
        (lambda data: os.urandom(200), "does not begin as a ledger"),
    ],
    ids=["empty", "cut short", "a changed byte", "another version", "noise"],
)
async def test_a_broken_file_is_refused_and_put_aside_never_taken_as_empty(
    spoil: Callable[[bytes], bytes], sentence: str, tmp_path: Path, executor: ThreadPoolExecutor
) -> None:
    path = tmp_path / "ledger"
    ledger = FileLedger(path, executor)
    await ledger.save(FIRST)
    spoilt = spoil(path.read_bytes())
    path.write_bytes(spoilt)
    with pytest.raises(LedgerBroken, match=sentence):
        await ledger.load()
    [aside] = [name for name in os.listdir(tmp_path) if name.startswith("ledger.broken-")]
    assert (tmp_path / aside).read_bytes() == spoilt
    assert await ledger.load() is None


@pytest.mark.parametrize(
    ("error", "kind"),
    [(errno.ENOSPC, LedgerFull), (errno.EDQUOT, LedgerFull), (errno.EIO, LedgerError)],
)
async def test_a_write_that_fails_leaves_the_record_before_it(
    error: int,
    kind: type[LedgerError],
    tmp_path: Path,
    executor: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ledger = FileLedger(tmp_path / "ledger", executor)
    await ledger.save(FIRST)

    def fail(descriptor: int) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(kind, match="cannot be written"):
        await ledger.save(SECOND)
    monkeypatch.undo()
    assert await ledger.load() == FIRST
    assert os.listdir(tmp_path) == ["ledger"]


async def test_a_full_file_system_is_a_full_ledger(executor: ThreadPoolExecutor) -> None:
    with pytest.raises(LedgerError, match="cannot be written"):
        await FileLedger(Path("/proc/fleet-ledger"), executor).save(FIRST)


async def test_a_write_cut_short_by_a_kill_leaves_the_record_before_it(
    tmp_path: Path, executor: ThreadPoolExecutor
) -> None:
    ledger = FileLedger(tmp_path / "ledger", executor)
    await ledger.save(FIRST)
    (tmp_path / "ledger.new").write_bytes(encode(SECOND)[:30])
    assert await ledger.load() == FIRST
    await ledger.save(SECOND)
    assert await ledger.load() == SECOND
