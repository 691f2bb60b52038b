"""From `certs init` to a call: an authority, identities and a context made by hand."""

from __future__ import annotations

import stat
from pathlib import Path

from fleet.transport import Identity
from tests.processes.controller_double import ControllerDouble, status
from tests.processes.fleetctl_process import Fleetctl


def test_an_operator_makes_all_that_a_cluster_needs(tmp_path: Path) -> None:
    fleetctl = Fleetctl(tmp_path)
    out = ("--out", str(tmp_path))
    assert fleetctl("certs", "init", "--name", "Lab").code == 0
    assert fleetctl("certs", "controller", "c1", "--san", "127.0.0.1", *out).code == 0
    assert fleetctl("certs", "user", "alice", *out).out == f"operator: {tmp_path}/alice\n"
    told = fleetctl("certs", "host", "h1", "h2", *out, "-o", "json").json
    assert told == {"kind": "agent", "folders": [f"{tmp_path}/h1", f"{tmp_path}/h2"]}
    assert stat.S_IMODE((tmp_path / "h1" / "key.pem").stat().st_mode) == 0o600

    with ControllerDouble(own=Identity.load(tmp_path / "c1")) as controller:
        controller.on("Status", status())
        identity = ("--identity", str(tmp_path / "alice"))
        added = fleetctl("contexts", "add", "lab", "--endpoint", controller.endpoint, *identity)
        assert added.out == "context lab added, and current\n"
        assert fleetctl("status").code == 0
        assert controller.peers == {"operator/alice"}


def test_contexts_are_listed_shown_and_chosen(tmp_path: Path) -> None:
    fleetctl = Fleetctl(tmp_path)
    assert fleetctl("contexts", "list").out.startswith("No contexts in ")
    fleetctl("certs", "init")
    fleetctl("certs", "user", "bob", "--viewer", "--out", str(tmp_path))
    for name in ("a", "b"):
        identity = ("--identity", str(tmp_path / "bob"))
        assert fleetctl("contexts", "add", name, "--endpoint", "h:1", *identity).code == 0
    assert fleetctl("contexts", "use", "b").out == "current context: b\n"
    assert fleetctl("contexts", "list").out == (
        "CONTEXT  CURRENT  ENDPOINTS\na                 h:1\nb        *        h:1\n"
    )
    assert "endpoints    h:1\n" in fleetctl("contexts", "show").out
    told = fleetctl("contexts", "list", "-o", "json").json
    assert told["current"] == "b" and [one["name"] for one in told["contexts"]] == ["a", "b"]


def test_an_authority_is_never_overwritten(tmp_path: Path) -> None:
    fleetctl = Fleetctl(tmp_path)
    fleetctl("certs", "init")
    before = (tmp_path / "ca" / "ca-key.pem").read_bytes()
    said = fleetctl("certs", "init")
    assert said.code == 1 and "there is an authority in" in said.err
    assert (tmp_path / "ca" / "ca-key.pem").read_bytes() == before


def test_what_cannot_be_issued_is_one_sentence(tmp_path: Path) -> None:
    fleetctl = Fleetctl(tmp_path)
    said = fleetctl("certs", "host", "h1")
    assert said.code == 1 and "make one with 'fleetctl certs init'" in said.err
    fleetctl("certs", "init")
    for names in (["../h1"], ["H1"], ["h1", "--san", "x.operator.megafleet"]):
        said = fleetctl("certs", "host", *names, "--out", str(tmp_path))
        assert said.code == 1 and said.err.count("\n") == 1
    said = fleetctl("certs", "host", "h1", "--out", str(tmp_path / "ca" / "ca.pem"))
    assert said.code == 1 and "Not a directory" in said.err


def test_an_identity_that_is_not_there_makes_no_context(tmp_path: Path) -> None:
    identity = ("--identity", str(tmp_path))
    said = Fleetctl(tmp_path)("contexts", "add", "lab", "--endpoint", "h:1", *identity)
    assert said.code == 2 and not (tmp_path / "config.toml").exists()
