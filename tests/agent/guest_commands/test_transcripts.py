"""What a console prints while a command runs: only what is between its own marks is the output."""

from __future__ import annotations

import hashlib
import time

import pytest

from fleet.guest_commands.answers import Answer
from fleet.v1 import commands_pb2 as wire
from fleet_agent.core.guest_commands.transcript import Transcript, asks_who
from fleet_agent.core.guest_commands.typed_line import CannotBeTyped, Marks

MARKS = Marks("00c0ffee00c0ffee")
OTHER = Marks("0123456789abcdef")
LINE = MARKS.line("uname -r", "")
# As a shell shows what is typed, breaking it where its terminal ends.
ECHO = b"/ # " + LINE[:76] + b"\r\n" + LINE[76:-1] + b"\r\n"
BEGIN, END = b"\r\n" + MARKS.begin + b"\r\n", b"\r\n" + MARKS.end + b"0.\r\n/ # "
WHOLE = b"earlier\r\n" + ECHO + BEGIN + b"6.12.117\r\nof today\r\n" + END


def read(*pieces: bytes, most: int = 100) -> Transcript:
    made = Transcript(MARKS, most)
    for one in pieces:
        made.add(one)
    return made


def test_the_output_is_what_is_between_the_marks_as_the_command_wrote_it() -> None:
    assert read(WHOLE).answer() == Answer.ended(0, b"6.12.117\nof today\n", 100)


@pytest.mark.parametrize("at", range(len(WHOLE)))
def test_it_is_the_same_wherever_the_console_is_cut_while_it_is_read(at: int) -> None:
    assert read(WHOLE[:at], WHOLE[at:]).answer() == read(WHOLE).answer()


def test_it_is_the_same_byte_by_byte() -> None:
    assert read(*(WHOLE[i : i + 1] for i in range(len(WHOLE)))).answer() == read(WHOLE).answer()


@pytest.mark.parametrize("at", range(len(LINE)))
def test_the_echo_of_what_is_typed_is_no_mark_wherever_it_is_broken(at: int) -> None:
    made = read(
        LINE[:at] + b"\r\n" + LINE[at:], LINE[:at] + LINE[at:], LINE[:at] + b" \r" + LINE[at:]
    )
    assert not made.begun and made.exit_code is None


def test_marks_of_another_command_are_output() -> None:
    said = b"\r\n" + OTHER.begin + b"\r\nx" + OTHER.end + b"0.\r\n"
    assert not read(said).begun
    answer = read(ECHO + BEGIN + said + END).answer()
    assert answer.exit_code == 0 and OTHER.end in answer.output


@pytest.mark.parametrize("piece", [b"\r", b"\n", MARKS.end, MARKS.begin, b"#", b"12."])
def test_no_output_takes_for_ever(piece: bytes) -> None:
    began = time.process_time()
    read(BEGIN, piece * 1_000_000, END)
    assert time.process_time() - began < 20.0  # what takes the square of the length takes minutes


@pytest.mark.parametrize("said", [b"", b".", b"x.", b"1234.", b"-1."])
def test_what_only_looks_like_an_end_is_output(said: bytes) -> None:
    answer = read(BEGIN + MARKS.end + said + b"\r\nmore\r\n\r\n" + MARKS.end + b"3.").answer()
    assert (answer.exit_code, answer.output) == (3, MARKS.end + said + b"\nmore\n")


def test_a_code_that_no_process_has_is_the_highest() -> None:
    assert read(BEGIN + MARKS.end + b"999.").exit_code == 255


def test_an_output_without_an_end_of_line_and_none_at_all() -> None:
    assert read(BEGIN + b"x" + END).answer().output == b"x"
    assert read(BEGIN + END).answer() == Answer.ended(0, b"", 100)


def test_of_a_long_output_the_beginning_is_kept_its_size_and_digest_are_of_all() -> None:
    lines = b"".join(b"%d\r\n" % number for number in range(10_000))
    answer = read(BEGIN, *(lines[i : i + 999] for i in range(0, len(lines), 999)), END).answer()
    plain = lines.replace(b"\r\n", b"\n")
    assert answer.is_cut and answer.output == plain[:100]
    assert (answer.total, answer.digest) == (len(plain), hashlib.sha256(plain).digest())


@pytest.mark.parametrize("flood", [b"\n", b"\r", b"\r\n", b"#mf", MARKS.end, MARKS.begin, b"\0"])
def test_whatever_a_guest_prints_without_end_what_is_held_stays_small(flood: bytes) -> None:
    made = read(BEGIN, *(flood * 1000 for _ in range(100)))
    assert len(made._rest) + len(made._output) < 8_192
    assert made.exit_code is None
    before = read(*(flood * 1000 for _ in range(100)))
    assert len(before._rest) < 8_192 or before.begun


def test_nothing_is_read_beyond_the_end() -> None:
    made = read(WHOLE, BEGIN + b"again" + END)
    assert made.answer() == read(WHOLE).answer()


def test_a_command_that_has_not_ended_has_given_no_answer() -> None:
    assert read(ECHO + BEGIN + b"half").answer() == Answer(wire.COMMAND_OUTCOME_NO_ANSWER)


@pytest.mark.parametrize(
    "printed",
    [b"Debian 12 vm ttyS0\r\n\r\nvm login: ", b"Password: ", b"x\r\n\x1b[1mlogin:\x1b[0m "],
)
def test_a_login_prompt_is_seen(printed: bytes) -> None:
    assert asks_who(printed) and read(printed).stuck


@pytest.mark.parametrize("printed", [b"", b"/ # ", b"login: joe\r\n$ ", b"last login: today\r\n# "])
def test_a_shell_is_no_login_prompt(printed: bytes) -> None:
    assert not asks_who(printed)


@pytest.mark.parametrize("command", ["a\tb", "a\nb", "a\x1bb", "a\x03b", "x" * 1000])
def test_what_a_console_cannot_be_given_is_refused_with_the_reason(command: str) -> None:
    with pytest.raises(CannotBeTyped, match="a console takes"):
        MARKS.line(command, "")


def test_what_is_typed_is_one_line() -> None:
    assert MARKS.line("echo 'it''s' \"$HOME\" ; `x` \\", "root").count(b"\n") == 1
