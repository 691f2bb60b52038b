"""What fleetctl makes of a console's log, of what is typed, and of silence."""

from __future__ import annotations

import click
import pytest

from fleetctl.cli.arguments import vm
from fleetctl.views.vms.console import (
    MAX_LOG_BYTES,
    LogPart,
    Quiet,
    as_text,
    before_escape,
    escape_byte,
    key_name,
    last_lines,
    log_part,
)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("100", LogPart(100 * 1024, 100)),
        ("999999", LogPart(MAX_LOG_BYTES, 999_999)),
        ("64KiB", LogPart(64 * 1024)),
        ("1M", LogPart(MAX_LOG_BYTES)),
        ("500b", LogPart(500)),
    ],
)
def test_parts_of_a_log(text: str, part: LogPart) -> None:
    assert log_part(text) == part


@pytest.mark.parametrize("text", ["", "spv-3", "-1", "2MiB", "5X", "1.5M", "٣"])
def test_what_is_no_part_of_a_log(text: str) -> None:
    with pytest.raises(click.BadParameter):
        log_part(text)


def test_the_last_lines_of_what_came() -> None:
    assert last_lines(b"a\r\nb\nc", LogPart(10, 2)) == b"b\nc"
    assert last_lines(b"a\nb\n", LogPart(10)) == b"a\nb\n"


def test_a_log_steers_no_terminal() -> None:
    assert (
        as_text(b"\x1b[31mred\x1b[0m\r\n\x1b]0;title\x07\tend\n")
        == "red\n\\x1b]0;title\\x07      end"
    )


@pytest.mark.parametrize(
    ("text", "byte", "name"),
    [("^]", b"\x1d", "Ctrl-]"), ("^a", b"\x01", "Ctrl-A"), ("~", b"~", "~"), ("none", b"", "")],
)
def test_escapes(text: str, byte: bytes, name: str) -> None:
    assert escape_byte(text) == byte
    assert not byte or key_name(byte) == name


@pytest.mark.parametrize("text", ["", "ab", "^", "^^^", "é", "\x1d"])
def test_what_is_no_key(text: str) -> None:
    if text == "^":
        assert escape_byte(text) == b"^"
        return
    with pytest.raises(click.BadParameter):
        escape_byte(text)


def test_what_stands_before_the_escape_is_typed() -> None:
    assert before_escape(b"ls\r", b"\x1d") == (b"ls\r", False)
    assert before_escape(b"ls\r\x1drest", b"\x1d") == (b"ls\r", True)
    assert before_escape(b"\x1d", b"") == (b"\x1d", False)


@pytest.mark.parametrize(
    ("quiet", "until"),
    [
        (Quiet(sent=1.0, heard=2.0), None),
        (Quiet(ended=10.0), 11.0),
        (Quiet(sent=9.0, ended=10.0), 15.0),
        (Quiet(sent=9.0, heard=8.0, ended=10.0), 15.0),
        (Quiet(sent=9.0, heard=9.5, ended=10.0), 11.0),
        (Quiet(sent=9.0, heard=12.0, ended=10.0), 13.0),
        (Quiet(sent=9.0, heard=39.9, ended=10.0), 40.0),
    ],
)
def test_when_a_script_has_heard_enough(quiet: Quiet, until: float | None) -> None:
    assert quiet.until() == until


def test_vms_by_name_and_by_index() -> None:
    assert vm("spv-250") == ("spv", 250)
    assert vm("my-fleet-0") == ("my-fleet", 0)
    assert vm("7") == ("", 7)


@pytest.mark.parametrize(
    "text", ["spv", "spv-", "spv-007", "SPV-1", "spv-99999999", "-", "", "x" * 99]
)
def test_what_is_no_vm(text: str) -> None:
    with pytest.raises(click.BadParameter):
        vm(text)
