"""A support bundle of real processes: what is in it, what never is; it is whole or not there."""

from __future__ import annotations

import base64
import json
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest

from fleet.transport import Role
from fleet.v1 import types_pb2 as types
from fleetctl.support.archive import MOST_BYTES, write_bundle
from fleetctl.support.logs import MOST_BYTES as LOG_BYTES
from tests.certificates import issue
from tests.processes.fleetctl_process import Fleetctl
from tests.processes.small_cluster import SmallCluster, spec

pytest_plugins = ["tests.processes.cluster_fixtures"]


def read(file: Path) -> dict[str, str]:
    """The texts in it by their names."""
    with tarfile.open(file) as archive:
        opened = {one.name: archive.extractfile(one) for one in archive.getmembers()}
        return {name: one.read().decode() for name, one in opened.items() if one}


@pytest.fixture
def fleetctl(tmp_path: Path, cluster: SmallCluster) -> Fleetctl:
    alice = issue(tmp_path / "alice", Role.OPERATOR, "alice")
    return Fleetctl(tmp_path, (cluster.controller.address,), alice)


def furnished(cluster: SmallCluster) -> None:
    """A fleet whose VMs are handed secrets, with some history."""
    handed = types.Identity(
        hostname="{name}", user_data="#cloud-config\npassword: hunter2-of-the-vms"
    )
    cluster.apply("accounting", spec(identity=handed))
    cluster.scale_and_wait(48, "accounting")


def secrets_of(cluster: SmallCluster, fleetctl: Fleetctl) -> list[str]:
    """Whatever must never be in a bundle: keys of certificates, the store's own key, tokens."""
    assert fleetctl.identity
    key = (fleetctl.identity / "key.pem").read_text()
    found = [line for line in key.split("\n") if line and "-----" not in line]
    (sealing,) = (json.loads(value) for value in cluster.stored("seal").values())
    (secret,) = (value for value in sealing.values() if isinstance(value, str) and len(value) > 20)
    raw = base64.b64decode(secret)
    return [*found, secret, raw.hex(), "hunter2"]


def test_a_bundle_has_all_parts_and_no_secret(
    cluster: SmallCluster, fleetctl: Fleetctl, tmp_path: Path
) -> None:
    furnished(cluster)
    file = tmp_path / "out" / "b.tar.gz"
    file.parent.mkdir()
    planned = fleetctl("support", "bundle", str(file), "--plan", "-o", "json").json
    assert not file.exists()
    told = fleetctl("support", "bundle", str(file), "-o", "json").json
    names = [one["name"] for one in planned["files"]]
    texts = read(file)
    assert {f"support/{name}" for name in [*names, "manifest.json"]} == set(texts) | {
        f"support/{name}" for name in told["missing"]
    }
    assert file.stat().st_mode & 0o777 == 0o600
    assert json.loads(texts["support/fleets.json"])["fleets"][0]["file"]["identity"] == {
        "user_data": "(left out)"
    }
    assert len(json.loads(texts["support/hosts.json"])["hosts"]) == 24
    assert '"accounting"' in texts["support/history.json"]
    whole = "\n".join(texts.values())
    for secret in secrets_of(cluster, fleetctl):
        assert secret not in whole
    assert [one.name for one in file.parent.iterdir()] == ["b.tar.gz"]
    again = fleetctl("support", "bundle", str(file))
    assert again.code == 1 and "--force overwrites it" in again.err


def test_an_anonymous_bundle_names_nobody(
    cluster: SmallCluster, fleetctl: Fleetctl, tmp_path: Path
) -> None:
    cluster.apply("bygone")
    cluster.remove("bygone")
    furnished(cluster)
    file = tmp_path / "b.tar.gz"
    assert fleetctl("support", "bundle", str(file), "--anonymous").code == 0
    texts = read(file)
    whole = "\n".join([*texts, *texts.values()])
    for name in ("accounting", "bygone", "hollow-000", "operator/alice", "127.0.0.1"):
        assert name not in whole, name
    status: Any = json.loads(texts["support/status.json"])
    fleets: Any = json.loads(texts["support/fleets.json"])["fleets"]
    # Which number it has follows from all names that there have been.
    assert re.fullmatch(r"fleet-\d+", status["fleets"][0]["fleet"])
    assert status["fleets"][0]["fleet"] == fleets[0]["fleet"] == fleets[0]["file"]["name"]


def test_what_is_interrupted_or_too_large_leaves_no_half_file(tmp_path: Path) -> None:
    class Interrupted:
        def __str__(self) -> str:
            raise KeyboardInterrupt

    file = tmp_path / "b.tar.gz"
    with pytest.raises(KeyboardInterrupt):
        write_bundle(file, {"a.json": 1, "b.json": Interrupted()}, {}, None, force=False)
    assert not list(tmp_path.iterdir())
    files = write_bundle(file, {"a.txt": "x" * (MOST_BYTES + 9)}, {}, None, force=False)
    assert dict(files)["a.txt"] < MOST_BYTES + 100
    assert read(file)["support/a.txt"].endswith("(cut here: the rest is left out)\n")


def test_what_cannot_be_had_is_named_and_the_rest_is_there(
    cluster: SmallCluster, fleetctl: Fleetctl, tmp_path: Path
) -> None:
    file = tmp_path / "b.tar.gz"
    urls = ("--metrics", "http://127.0.0.1:9/metrics", "--metrics", "file:///etc/passwd")
    told = fleetctl("support", "bundle", str(file), "--hosts", "0", *urls, "-o", "json")
    assert told.code == 0 and "cannot read" in told.json["missing"]["metrics-1.txt"]
    assert "over http or https" in told.json["missing"]["metrics-2.txt"]
    assert "metrics-1.txt" in json.loads(read(file)["support/manifest.json"])["missing"]


def test_ends_of_logs_are_in_it_without_secrets_and_a_wrong_path_is_refused_first(
    cluster: SmallCluster, fleetctl: Fleetctl, tmp_path: Path
) -> None:
    folder, file = tmp_path / "logs", tmp_path / "b.tar.gz"
    folder.mkdir()
    (folder / "agent.log").write_text("x" * (2 * LOG_BYTES) + "\nlast password=hunter2 line\n")
    (folder / "other.txt").write_text("no log")
    single = tmp_path / "etcd.out"
    single.write_bytes(b"\xff said etcd")
    logs = ("--logs", str(folder), "--logs", str(single))
    told = fleetctl("support", "bundle", str(file), *logs, "-o", "json").json
    texts = read(file)
    assert not [name for name in told["missing"] if name.startswith("log-")]
    end = texts["support/log-1-agent.log"]
    assert end.endswith("last password=(left out) line\n") and len(end) <= LOG_BYTES + 20
    assert "said etcd" in texts["support/log-2-etcd.out"]
    assert not [name for name in texts if "other" in name]
    refused = fleetctl("support", "bundle", str(tmp_path / "c"), "--logs", str(tmp_path / "none"))
    assert refused.code == 1 and "cannot read" in refused.err
    assert not (tmp_path / "c").exists()
