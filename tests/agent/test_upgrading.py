"""The command by which an agent becomes another release: what it is run with, and what is told."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fleet_agent.upgrading.command import CommandUpgrades
from fleet_agent.upgrading.port import (
    BadRelease,
    UpgradeError,
    UpgradeNotSet,
    UpgradeUnderWay,
)
from tests.doubles.leading import until


def upgrades(folder: Path, script: str) -> CommandUpgrades:
    return CommandUpgrades(["/bin/sh", "-c", script, "upgrade"], "0.1.0", folder / "said")


def test_it_is_run_with_the_release_for_its_last_word_and_without_a_shell(tmp_path: Path) -> None:
    one = upgrades(tmp_path, f'echo "$# $1" >{tmp_path}/words')
    asyncio.run(one.upgrade("0.2.0"))
    assert (tmp_path / "words").read_text() == "1 0.2.0\n"


@pytest.mark.parametrize("version", ["", "-o=x", "0.2 0.3", "$(id)", "0.2\n", "../x", "1" * 41])
def test_what_is_no_release_reaches_no_command(tmp_path: Path, version: str) -> None:
    one = upgrades(tmp_path, f"touch {tmp_path}/ran")
    with pytest.raises(BadRelease):
        asyncio.run(one.upgrade(version))
    assert not (tmp_path / "ran").exists()


def test_an_agent_of_that_release_has_nothing_to_do(tmp_path: Path) -> None:
    asyncio.run(upgrades(tmp_path, f"touch {tmp_path}/ran").upgrade("0.1.0"))
    assert not (tmp_path / "ran").exists()


def test_without_a_command_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(UpgradeNotSet):
        asyncio.run(CommandUpgrades((), "0.1.0", tmp_path / "said").upgrade("0.2.0"))


def test_what_the_command_said_last_is_told_without_control_characters(tmp_path: Path) -> None:
    one = upgrades(tmp_path, r'echo first; printf "E: not \033[31mfound\n" >&2; exit 100')
    with pytest.raises(UpgradeError, match=r"ended with 100: E: not \[31mfound; .*/said") as told:
        asyncio.run(one.upgrade("0.2.0"))
    assert "\x1b" not in str(told.value)


def test_a_command_that_is_not_there_is_named(tmp_path: Path) -> None:
    one = CommandUpgrades([str(tmp_path / "none")], "0.1.0", tmp_path / "said")
    with pytest.raises(UpgradeError, match="none: No such file"):
        asyncio.run(one.upgrade("0.2.0"))


def test_whoever_asks_again_joins_what_is_under_way_and_another_release_is_refused(
    tmp_path: Path,
) -> None:
    gate = tmp_path / "gate"
    one = upgrades(tmp_path, f"echo x >>{tmp_path}/ran; while [ ! -e {gate} ]; do sleep 0.02; done")

    async def scene() -> None:
        first = asyncio.create_task(one.upgrade("0.2.0"))
        await until((tmp_path / "ran").exists)
        first.cancel()  # the leader that asked is gone
        with pytest.raises(UpgradeUnderWay, match=r"is being upgraded to 0\.2\.0"):
            await one.upgrade("0.3.0")
        again = asyncio.create_task(one.upgrade("0.2.0"))
        await asyncio.sleep(0)
        gate.touch()
        await again

    asyncio.run(scene())
    assert (tmp_path / "ran").read_text() == "x\n"


def test_the_command_outlives_the_agent(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    one = upgrades(
        tmp_path,
        f"touch {tmp_path}/ran; while [ ! -e {gate} ]; do sleep 0.02; done; touch {tmp_path}/over",
    )

    async def agent() -> None:
        task = asyncio.create_task(one.upgrade("0.2.0"))
        await until((tmp_path / "ran").exists)
        task.cancel()

    asyncio.run(agent())  # its loop is closed, as when the agent ends
    gate.touch()

    asyncio.run(until((tmp_path / "over").exists))
