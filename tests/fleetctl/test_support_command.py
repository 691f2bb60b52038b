"""fleetctl support bundle --anonymous: not without the names that it is to replace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fleet.v1 import cluster_pb2 as cluster
from fleetctl.main import run
from fleetctl.outcome import ExitCode, Failed, Unavailable
from megafleet.connection.cluster import Cluster


class Asked:
    """What stub method a call picks."""

    def __getattr__(self, name: str) -> str:
        return name


@pytest.mark.parametrize("lost", ["ListHosts", "ListFleets"])
@pytest.mark.parametrize(
    ("trouble", "code"),
    [
        (Failed("the answer is too large"), ExitCode.FAILED),
        (Unavailable("no controller answers"), ExitCode.UNREACHABLE),
    ],
)
def test_it_is_refused_where_names_could_not_be_had(
    lost: str, trouble: Failed | Unavailable, code: ExitCode, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def call(self: object, pick: Any, request: object, timeout: float = 0.0) -> object:
        asked = pick(Asked())
        if asked == lost:
            raise trouble
        return {
            "ListHosts": cluster.ListHostsResponse(),
            "ListFleets": cluster.ListFleetsResponse(),
        }[asked]

    monkeypatch.setattr(Cluster, "call", call)
    place = ["--endpoint", "127.0.0.1:1", "--identity", str(tmp_path)]
    file = tmp_path / "b.tar.gz"
    given = ["support", "bundle", str(file), "--anonymous", "--hosts", "0", *place]
    assert run(given) == code
    assert capsys.readouterr().err.splitlines()[-1] == (
        "fleetctl: nothing is written: --anonymous needs the names of all hosts and fleets, and "
        f"they could not be had: {trouble.message}"
    )
    assert not list(tmp_path.iterdir())
