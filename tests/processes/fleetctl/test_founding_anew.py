"""What `fleetctl cluster` refuses before anything is changed, and the ways back from a mistake."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from fleet.transport import Role
from tests.certificates import issue
from tests.processes.fleetctl_process import Fleetctl
from tests.processes.founded_machines import Machines

pytest_plugins = ["tests.processes.founding_fixtures"]


def own_name() -> str:
    """Of this machine, as far as certificates can name it and it leads here; else the test is
    skipped."""
    name = socket.gethostname().lower()
    try:
        address = socket.gethostbyname(name)
        with socket.socket() as probe:
            probe.bind((address, 0))
    except OSError:
        pytest.skip(f"this machine's name, {name}, does not lead to it")
    return name


def test_a_cluster_is_founded_and_grown_by_names_of_dns(machines: Machines) -> None:
    name = own_name()
    machines.found(address=name)
    machines.add("c2", name)
    members = machines.members()
    assert set(members) == {"c1", "c2"}
    for one in members.values():
        assert not one["problem"]
        assert str(one["client_url"]).startswith(f"https://{name}:")
        assert str(one["peer_url"]).startswith(f"https://{name}:")


def test_until_etcd_has_run_init_takes_another_address_and_name(machines: Machines) -> None:
    root = ("--root", str(machines.root("c1")))
    wrong = machines.where("c1", "192.0.2.77")
    assert machines.fleetctl("cluster", "init", "--name", "wrong", *wrong, *root).code == 3
    etc = machines.root("c1") / "etc" / "megafleet"
    key = (etc / "controller" / "key.pem").read_bytes()
    # It cannot have this one.
    machines.start("c1", machines.init("-o", "json").json["commands"][0])
    assert (etc / "controller" / "key.pem").read_bytes() != key
    settings = (etc / "controller.env").read_text()
    assert "192.0.2.77" not in settings and "REPLICA=c1\n" in settings
    machines.found()

    # Once it has run, it is what it is.
    said = machines.fleetctl("cluster", "init", "--name", "c1", *wrong, *root)
    assert said.code == 1 and "this machine is controller c1 at 127.0.0.1" in said.err
    assert (etc / "controller.env").read_text() == settings


def test_a_machine_that_is_to_join_is_not_founded(machines: Machines) -> None:
    machines.found()
    said = machines.cluster("add-controller", "c2", *machines.where("c2"), "-o", "json")
    root = ("--root", str(machines.root("c2")))
    person = Fleetctl(machines.folder / "c2-person")
    assert person("cluster", "join", "-", *root, text=said.json["line"].split()[1]).code == 0
    refused = person("cluster", "init", "--name", "c3", *machines.where("c2"), *root)
    assert refused.code == 1 and "is controller c2 at" in refused.err


def test_a_learner_at_a_wrong_address_is_replaced(machines: Machines) -> None:
    machines.found()
    wrong = machines.where("wrong", "192.0.2.77")
    assert machines.cluster("add-controller", "c2", *wrong, "--no-wait").code == 0
    right = machines.where("c2")
    said = machines.cluster("add-controller", "c2", *right, "--no-wait")
    assert said.code == 1 and "replace-member https://192.0.2.77:" in said.err
    url = f"https://192.0.2.77:{wrong[7]}"
    said = machines.cluster("replace-member", url, "--new-name", "c2", *right, "-o", "json")
    assert said.code == 0, said.err
    machines.join("c2", said.json["line"])
    machines.admitted("c2", "add-controller", "c2")


def test_replacing_is_refused_before_anything_is_removed(machines: Machines) -> None:
    machines.found()
    machines.add("c2")
    machines.add("c3")
    # Expected, and not there yet.
    assert machines.cluster("add-controller", "c4", *machines.where("c4"), "--no-wait").code == 0
    machines.kill("c3")
    before = {name: one["id"] for name, one in machines.members().items()}
    force = ("--no-wait", "--force")

    there = machines.cluster("replace-member", "c3", *machines.where("c2"), *force)
    assert there.code == 1 and "c2 is a member of etcd already" in there.err
    named = ("replace-member", "c3", "--new-name", "c2", *machines.where("c9"))
    double = machines.cluster(*named, *force)
    assert double.code == 1 and "a member of etcd is called c2 already" in double.err
    issuing = machines.folder / "operator" / "issuing" / "issuing-key.pem"
    key = issuing.read_bytes()
    issuing.unlink()
    missing = machines.cluster("replace-member", "c3", *machines.where("c3"), *force)
    assert missing.code == 1 and "certs issuing --out" in missing.err
    issuing.touch(mode=0o600)
    issuing.write_bytes(key)
    learner = machines.cluster("replace-member", "c3", *machines.where("c3"), *force)
    assert learner.code == 1 and "one learner at a time" in learner.err
    assert {name: one["id"] for name, one in machines.members().items()} == before


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--operator", "a b"),
        ("--operator", r"CORP\jo"),
        ("--address", "Host_1"),
        ("--address", "Foo.example.org"),
        ("--address", "host.megafleet"),
        ("--name", "c1.operator"),
        ("--root", "/srv/a b"),
    ],
)
def test_a_name_of_which_no_certificate_is_made_is_a_mistake_of_usage(
    tmp_path: Path, option: str, value: str
) -> None:
    said = Fleetctl(tmp_path / "operator")(
        "cluster", "init", "--name", "c1", "--address", "192.0.2.1", "--root",
        str(tmp_path / "c1"), option, value,
    )  # fmt: skip
    assert said.code == 2, said.err
    assert value.split("\\")[0] in said.err and "internal" not in said.err
    assert not list(tmp_path.iterdir())


def test_an_authority_is_shared_by_no_second_cluster(machines: Machines) -> None:
    person = machines.fleetctl
    assert person("certs", "init").code == 0
    made = sorted((machines.folder / "operator").iterdir())
    said = machines.init()
    assert said.code == 1 and "MEGAFLEET_CONFIG" in said.err
    assert sorted((machines.folder / "operator").iterdir()) == made
    assert not machines.root("c1").exists()


def test_who_founded_one_cluster_founds_no_other_from_the_same_folder(machines: Machines) -> None:
    machines.begin()
    root = ("--root", str(machines.root("other")))
    for context in ("site", "other"):
        said = machines.fleetctl(
            "cluster", "init", "--name", "o1", *machines.where("o1"), *root, "--context", context
        )
        assert said.code == 1 and "has the authorities of cluster site" in said.err
    assert not machines.root("other").exists()
    # Another way to the same one is no other cluster.
    operator = str(machines.folder / "operator" / "operator")
    way = ("--endpoint", "192.0.2.9:7440", "--identity", operator)
    assert machines.fleetctl("contexts", "add", "by-vpn", *way).code == 0
    assert machines.init().code == 0


def test_another_clusters_context_is_refused_before_anything_is_made(machines: Machines) -> None:
    person = machines.fleetctl
    identity = issue(machines.folder / "alice", Role.OPERATOR, "alice")
    where = ("--endpoint", "192.0.2.9:7440", "--identity", str(identity))
    assert person("contexts", "add", "site", *where).code == 0
    said = machines.init()
    assert said.code == 1 and "give --context another name" in said.err
    assert not (machines.folder / "operator" / "ca").exists()


def test_a_relative_root_is_made_absolute(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(machines.folder)
    where = machines.where("c1")
    assert machines.fleetctl("cluster", "init", "--name", "c1", *where, "--root", "c1").code == 3
    text = (machines.root("c1") / "etc/default/etcd").read_text()
    assert f"ETCD_DATA_DIR={machines.root('c1')}/var/lib/etcd/megafleet\n" in text


def test_while_another_member_is_down_a_repeated_init_starts_nothing(machines: Machines) -> None:
    machines.begin()
    machines.add("c2")
    machines.add("c3")
    machines.kill("c3")
    assert machines.init().code == 0


def test_a_link_in_place_of_the_data_folder_is_refused(machines: Machines, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir(mode=0o755)
    data = machines.root("c1") / "var/lib/etcd/megafleet"
    data.parent.mkdir(parents=True)
    data.symlink_to(tmp_path / "disk")
    said = machines.init()
    assert said.code == 1 and "is a link, and must be a folder" in said.err
    assert (tmp_path / "disk").stat().st_mode & 0o777 == 0o755
