"""The tiny guest on this machine: its own C, compiled for the host, with the world around it played
by guest_tiny_world.c. Whatever the order of events, nothing typed is lost and nothing hangs."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

TINY = Path(__file__).resolve().parents[2] / "deploy" / "guests" / "tiny"
WORLD = Path(__file__).with_name("guest_tiny_world.c")
PARTS = ("clock.c", "console.c", "main.c", "terminal.c", "words.c", "xenstore.c")
READY = "megafleet: ready name=spv-3 index=3\n"
STOPPING = "megafleet: stopping name=spv-3 index=3\n"
WHAT = "megafleet: ? try id, uptime, halt, reboot\n"
ANSWERS = {"": "name=spv-3 index=3\n", "id": "name=spv-3 index=3\n", "uptime": "uptime=12.3s\n"}

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="tiny is for x86-64")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("tiny") / "tiny"
    flags = ["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", f"-I{TINY}"]
    flags += ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    sources = [str(WORLD), *(str(TINY / part) for part in PARTS)]
    subprocess.run(["gcc", *flags, *sources, "-o", str(program)], check=True, timeout=120)
    return program


def run(
    tiny: Path, typed: str, *, seed: int = 1, wish: str = "", line: str = "name=spv-3 index=3"
) -> tuple[str, str]:
    """What was on the console, without carriage returns, and how it ended."""
    command = [str(tiny), str(seed), line, wish]
    done = subprocess.run(command, input=typed.encode("latin-1"), capture_output=True, timeout=60)
    said = done.stderr.decode()
    assert done.returncode == 0, said
    return done.stdout.decode("latin-1").replace("\r", ""), said.strip()


def expected(typed: str) -> tuple[str, str]:
    """The same by a model of the line editor."""
    said, line, last = READY, "", ""
    for c in typed:
        if c in "\r\n" and not (c == "\n" and last == "\r"):
            said += "\n"
            if line in ("halt", "reboot"):
                return said + STOPPING, "poweroff" if line == "halt" else "reboot"
            said += ANSWERS.get(line, WHAT)
            line = ""
        elif c in "\b\x7f" and line:
            said, line = said + "\b \b", line[:-1]
        elif c == "\x15":
            said, line = said + "\b \b" * len(line), ""
        elif " " <= c <= "~":
            said, line = (said + c, line + c) if len(line) < 64 else (said + "\a", line)
        last = c
    return said, "asleep"


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("\r", "\nname=spv-3 index=3\n"),
        ("id\n", "id\nname=spv-3 index=3\n"),
        ("id\r\n", "id\nname=spv-3 index=3\n"),
        ("uptime\r", "uptime\nuptime=12.3s\n"),
        ("who\r", f"who\n{WHAT}"),
        ("idd\x7f\r", "idd\b \b\nname=spv-3 index=3\n"),
        ("nonsense\x15id\r", "nonsense" + "\b \b" * 8 + "id\nname=spv-3 index=3\n"),
        ("half a line", "half a line"),
        ("x" * 70 + "\r", "x" * 64 + "\a" * 6 + f"\n{WHAT}"),
    ],
)
def test_a_line_is_echoed_and_answered(tiny: Path, typed: str, answer: str) -> None:
    assert run(tiny, typed) == (READY + answer, "asleep")


@pytest.mark.parametrize(("typed", "end"), [("halt\r", "poweroff"), ("reboot\r", "reboot")])
def test_it_ends_when_told_to(tiny: Path, typed: str, end: str) -> None:
    assert run(tiny, f"{typed}id\r") == (f"{READY}{typed.strip()}\n{STOPPING}", end)


@pytest.mark.parametrize(
    ("line", "identity"),
    [
        ("index=3 name=a-1 mac=02:00", "name=a-1 index=3"),
        ("rename=x", "name=- index=-"),
        ("", "name=- index=-"),
    ],
)
def test_who_it_is_stands_on_its_command_line(tiny: Path, line: str, identity: str) -> None:
    assert run(tiny, "", line=line)[0] == f"megafleet: ready {identity}\n"


TYPED = st.lists(
    st.sampled_from(["id", "uptime", "who are you", "\r", "\n", "\r\n", "\x7f", "\x15", "\x1b[A"])
    | st.sampled_from(["halt\n", "\xff", "\x00", "x" * 70, "id\r" * 40, "x\r" * 700]),
    max_size=12,
).map("".join)
SEEDS = st.integers(0, 2**31 - 1)


@settings(max_examples=150, deadline=None)
@given(TYPED, SEEDS)
@example("id\r" * 3000, 1)
def test_nothing_typed_is_lost_in_any_order_of_events(tiny: Path, typed: str, seed: int) -> None:
    assert run(tiny, typed, seed=seed) == expected(typed)


@settings(max_examples=150, deadline=None)
@given(TYPED.filter(lambda typed: "halt" not in typed), SEEDS, st.booleans())
def test_the_tool_stack_is_obeyed_whatever_is_typed(
    tiny: Path, typed: str, seed: int, reboots: bool
) -> None:
    said, end = run(tiny, typed, seed=seed, wish="reboot" if reboots else "poweroff")
    assert end == ("reboot" if reboots else "poweroff")
    assert said.endswith(STOPPING)
    assert expected(typed)[0].startswith(said.removesuffix(STOPPING))
