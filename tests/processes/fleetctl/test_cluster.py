"""From nothing to three members of etcd and back: each machine is a folder, each etcd a process on
loopback that is started by the very line which fleetctl prints."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from pathlib import Path

from fleet.transport import Identity
from fleetctl.founding.etcd_admin import EtcdAdmin
from fleetctl.founding.replica import store_clients
from fleetctl.local.snapshot_file import SnapshotFile
from tests.processes.cluster.joining_cluster import Machine, agent_of
from tests.processes.daemons import eventually
from tests.processes.fleetctl_process import Fleetctl
from tests.processes.founded_machines import Machines

pytest_plugins = ["tests.processes.founding_fixtures"]


def test_init_tells_what_to_start_and_goes_on_once_it_runs(machines: Machines) -> None:
    said = machines.init()
    assert said.code == 3
    assert "exec etcd" in said.out and "give this command again" in said.err
    etc = machines.root("c1") / "etc" / "megafleet"
    keys = ("controller/key.pem", "etcd/key.pem", "etcd-client/key.pem", "issuing/issuing-key.pem")
    for key in keys:
        assert stat.S_IMODE((etc / key).parent.stat().st_mode) == 0o700
        assert stat.S_IMODE((etc / key).stat().st_mode) == 0o600

    assert "the cluster is there" in machines.begin().out
    assert machines.fleetctl("status").code == 0
    # A repeated one changes nothing.
    before = [(etc / key).read_bytes() for key in keys]
    assert machines.init().code == 0
    assert [(etc / key).read_bytes() for key in keys] == before

    shown = machines.cluster("status")
    assert shown.code == 0
    assert "none may fail" in shown.out and "leads" in shown.out
    assert "none was taken from here: fleetctl backup FILE --etcd-root" in shown.out
    assert re.search(r"hosts' issuing key +36\d d  .*/issuing/issuing.pem\n", shown.out)


def test_a_machine_joins_by_a_token_once_init_has_ended(machines: Machines, tmp_path: Path) -> None:
    machines.begin()
    made = machines.fleetctl("tokens", "create", "-o", "json").json
    (tmp_path / "dom0-1").mkdir()
    host = Machine(tmp_path / "dom0-1", "dom0-1")
    said = host.join(made["token"], ",".join(made["controllers"]))
    assert said.returncode == 0, said.stderr
    with agent_of(host):
        live = machines.fleetctl("wait", "dom0-1", "--for", "host-live", "--timeout", "30")
        assert live.code == 0, live.err


def test_etcd_lets_the_controller_below_its_prefix_alone_and_its_root_do_all(
    machines: Machines,
) -> None:
    machines.found()
    root = machines.root("c1") / "etc" / "megafleet"

    def etcdctl(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
        port = machines.where("c1")[5]
        line = ["etcdctl", f"--endpoints=https://127.0.0.1:{port}", f"--cacert={folder}/ca.pem",
                f"--cert={folder}/cert.pem", f"--key={folder}/key.pem", *words]  # fmt: skip
        return subprocess.run(
            line, env={**os.environ, "ETCDCTL_API": "3"}, capture_output=True, text=True, timeout=30
        )

    client, everything = root / "etcd-client", machines.folder / "operator" / "etcd-root"
    assert etcdctl(client, "put", "/megafleet/x", "1").returncode == 0
    assert "permission denied" in etcdctl(client, "put", "/other", "1").stderr
    assert "permission denied" in etcdctl(client, "snapshot", "save", "/dev/null").stderr
    assert etcdctl(everything, "put", "/other", "1").returncode == 0
    # A certificate of the fleet's own authority opens nothing.
    assert etcdctl(root / "controller", "get", "/megafleet/x").returncode != 0


def test_three_members_and_one_is_replaced_though_its_data_is_gone(machines: Machines) -> None:
    machines.found()
    machines.add("c2")
    machines.add("c3")
    assert set(machines.members()) == {"c1", "c2", "c3"}
    settings = machines.root("c1") / "etc" / "megafleet" / "controller.env"
    store = next(one for one in settings.read_text().splitlines() if one.startswith("STORE="))
    assert store.count(",") == 2
    second = machines.root("c2")
    # By the same key: hosts would renew wherever another one leads.
    issuing = [
        (machines.root(name) / "etc/megafleet/issuing/issuing.pem").read_bytes()
        for name in ("c1", "c2", "c3")
    ]
    assert len(set(issuing)) == 1
    options = (second / "etc/megafleet/controller.env").read_text().partition("OPTIONS=")[2]
    assert f"--issuing {second}/etc/megafleet/issuing --join-listen 127.0.0.1:" in options
    told = Fleetctl(machines.folder)("cluster", "refresh", "--root", str(second))
    assert "names 3 members of etcd now" in told.out

    # One that answers is not taken out by mistake.
    where = machines.where("c3")
    said = machines.cluster("replace-member", "c3", *where, "--no-wait")
    assert said.code == 1 and "c3 answers: stop it first" in said.err
    machines.kill("c3")
    said = machines.cluster("replace-member", "c3", *where, "-o", "json")
    assert said.code == 0, said.err
    machines.join("c3", said.json["line"])
    machines.admitted("c3", "replace-member", "c3")
    assert list((machines.root("c3") / "var/lib/etcd").glob("megafleet.before-*"))
    members = machines.members()
    assert set(members) == {"c1", "c2", "c3"}
    assert not any(one["problem"] or one["learner"] for one in members.values())


def test_a_founded_cluster_is_restored_as_one(machines: Machines) -> None:
    machines.found()
    machines.add("c2")
    machines.add("c3")
    names = ("c1", "c2", "c3")
    for name in names:
        person = Fleetctl(machines.folder / f"{name}-person")
        assert person("cluster", "refresh", "--root", str(machines.root(name))).code == 0
    again = Fleetctl(machines.folder)("cluster", "refresh", "--root", str(machines.root("c2")))
    assert "name all members already" in again.out
    backup = machines.folder / "backup.db"
    root_of_etcd = Identity.load(machines.folder / "operator" / "etcd-root")
    with (
        EtcdAdmin(store_clients(machines.root("c1")), root_of_etcd) as etcd,
        SnapshotFile(backup, force=False) as made,
    ):
        for data, _ in etcd.snapshot():
            made.add(data)
        made.finish()
    machines.kill_all()
    for name in names:
        settings = machines.root(name) / "etc/default/etcd"
        line = ("restore", str(backup), "--settings", str(settings))
        shown = machines.fleetctl(*line, "--plan")
        assert "the new cluster has 3 members: c1, c2, c3" in shown.err
        assert machines.fleetctl(*line, "--yes").code == 0
    for name in names:
        machines.start_again(name)
    eventually(lambda: answering(machines) == set(names), "all three are one cluster again", 40.0)


def answering(machines: Machines) -> set[str]:
    return {name for name, one in machines.members().items() if not one["problem"]}


def test_what_would_lose_the_quorum_is_refused_and_changes_nothing(machines: Machines) -> None:
    machines.found()
    said = machines.cluster("replace-member", "c1", *machines.where("c9"), "--force", "--no-wait")
    assert said.code == 1 and "the only member of etcd" in said.err
    machines.add("c2")
    # The third is expected, and not there: no fourth beside it.
    third = machines.cluster("add-controller", "c3", *machines.where("c3"), "--no-wait")
    assert third.code == 0
    fourth = machines.cluster("add-controller", "c4", *machines.where("c4"), "--no-wait")
    assert fourth.code == 1 and "one learner at a time" in fourth.err

    machines.kill("c2")
    for command in (
        ("add-controller", "c4", *machines.where("c4")),
        ("replace-member", "c2", *machines.where("c2")),
    ):
        said = machines.cluster(*command, "--no-wait")
        assert said.code == 1 and "1 of 2 members of etcd answer" in said.err, said.err
    shown = machines.cluster("status")
    assert shown.code == 1 and "no quorum" in shown.out


def test_what_is_no_line_of_add_controller_is_refused_with_a_sentence(machines: Machines) -> None:
    for given in ("nonsense", "mfc1.AAAA", "mfc1." + "A" * 70_000):
        said = machines.cluster("join", "-", text=given)
        assert said.code == 2 and "give the whole line" in said.err
    assert not machines.root("c1").exists()


def test_settings_of_another_etcd_are_left_alone(machines: Machines) -> None:
    settings = machines.root("c1") / "etc" / "default" / "etcd"
    settings.parent.mkdir(parents=True)
    settings.write_text("ETCD_DATA_DIR=/srv/etcd\n")
    said = machines.init()
    assert said.code == 1 and "settings of another etcd" in said.err
    assert settings.read_text() == "ETCD_DATA_DIR=/srv/etcd\n"
