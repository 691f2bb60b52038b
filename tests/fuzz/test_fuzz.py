"""The short form of `make fuzz`: the same inputs each time, a few seconds each. Nothing ends, every
call is answered with a code that says something, and honest calls go on."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.fuzz.calls import METHODS, Reached, again, fuzz, loaded
from tests.fuzz.cluster import ROLES, FuzzedCluster
from tests.fuzz.known import is_known
from tests.fuzz.parser_runs import run
from tests.fuzz.parsers import PARSERS

CALLS = 1_500
PARSED = 2_000


def unknown(reached: Reached) -> dict[str, str]:
    return {kind: one.what for kind, one in reached.findings.items() if not is_known(kind)}


@pytest.mark.parametrize("parser", PARSERS)
def test_a_parser_refuses_in_its_own_words_whatever_it_is_given(parser: str) -> None:
    reached = Reached()
    run(PARSERS[parser], Random("short"), PARSED if parser != "fleet file" else 300, reached)
    assert not unknown(reached)


async def test_processes_answer_mutated_messages_of_every_role_and_serve_on(tmp_path: Path) -> None:
    reached = Reached()
    with FuzzedCluster(tmp_path).running() as cluster:
        await fuzz(cluster, "short", reached, CALLS)
    assert not unknown(reached)
    called = {(call, role) for call, role, _ in reached.outcomes}
    assert len(called) > 0.9 * len(METHODS) * len(ROLES)
    assert {"OK", "PERMISSION_DENIED", "UNAUTHENTICATED"} <= {c for *_, c in reached.outcomes}


async def test_what_was_found_is_played_again_from_its_file(tmp_path: Path) -> None:
    """A controller that has ended is found, and its input is what is saved."""
    reached = Reached()
    with FuzzedCluster(tmp_path).running() as cluster:
        cluster.controller.kill()
        reached.found("after a round", cluster.wrong(), [])
        (file,) = reached.save(tmp_path / "found")
        assert "has ended" in reached.findings["after a round"].what
        assert "has ended" in await again(cluster, loaded(file), reached)
