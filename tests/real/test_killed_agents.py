"""An agent killed at each moment of a clone's start: the next one ends with the clone, once."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contracts.hypervisor.hypervisor_hosts import FLEET
from tests.real.clone_host import CloneHost, host_folder
from tests.real.killed_agent import MOMENTS
from tests.real.real_sandbox import why_not_here

pytestmark = [
    pytest.mark.real_long,
    pytest.mark.skipif(bool(why_not_here()), reason=why_not_here() or "it runs here"),
]
# Of a start that is cut short: an emulated boot on a machine that is busy.
DEADLINE = 300.0
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """One guest for all."""
    with host_folder() as made:
        yield made


@pytest.mark.parametrize("moment", MOMENTS)
async def test_the_next_agent_has_the_clone_running_once_and_nothing_half_made(
    folder: Path, moment: str
) -> None:
    host = CloneHost(folder)
    try:
        killed = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.real.killed_agent", str(folder), moment), cwd=ROOT
        )
        async with asyncio.timeout(DEADLINE):
            assert await killed.wait() == -signal.SIGKILL, "the moment never came"
        (life,) = await host.run(0)
        assert life.way == "clone"
        assert f"ready name={FLEET.domain_name(0)} " in host.console(0)
        assert len(host.pids()) == 1
        assert [one.name for one in (folder / "clones").iterdir()] == [FLEET.domain_name(0)]
        assert [one.name for one in host.templates.iterdir()] == [life.template]
    finally:
        vms = host.vms(0)
        async for _ in host.driver.undefine(vms):
            pass
        await host.close()
