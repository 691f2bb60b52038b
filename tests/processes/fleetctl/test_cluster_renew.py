"""Certificates of the control plane, made anew while it runs."""

from __future__ import annotations

import re
import ssl
from datetime import timedelta
from pathlib import Path

from fleet.transport import Identity, Role
from fleetctl.local.certificate_authority import Authority, write_identity
from tests.certificates import authority
from tests.processes.daemons import eventually
from tests.processes.fleetctl_process import Fleetctl
from tests.processes.founded_machines import Machines

pytest_plugins = ["tests.processes.founding_fixtures"]

OF_A_MACHINE = ("controller/cert.pem", "etcd/cert.pem", "etcd-client/cert.pem")
OF_THE_FOUNDER = ("operator/cert.pem", "etcd-root/cert.pem", "issuing/issuing.pem")


def read(folder: Path, names: tuple[str, ...]) -> list[bytes]:
    return [(folder / name).read_bytes() for name in names]


def shown_by(port: int) -> bytes:
    return ssl.get_server_certificate(("127.0.0.1", port)).encode()


def test_this_machines_are_renewed_and_all_of_it_works_on(machines: Machines) -> None:
    machines.begin()
    etc, operator = machines.root("c1") / "etc/megafleet", machines.folder / "operator"
    before = read(etc, OF_A_MACHINE) + read(operator, OF_THE_FOUNDER)
    settings = (etc / "controller.env").read_text()
    said = machines.cluster("renew")
    assert said.code == 0, said.err
    assert "restart the controller here" in said.out
    now = read(etc, OF_A_MACHINE) + read(operator, OF_THE_FOUNDER)
    assert not set(before) & set(now)
    assert read(etc, ("issuing/issuing.pem",)) == read(operator, ("issuing/issuing.pem",))
    assert (etc / "controller.env").read_text() == settings

    # etcd shows the new one without a restart, and takes those of the controller and of its root.
    client = machines.where("c1")[5]
    assert shown_by(int(client)).split() == (etc / "etcd/cert.pem").read_bytes().split()
    assert machines.cluster("status").code == 0
    assert machines.cluster("refresh").code == 0
    assert machines.fleetctl("status").code == 0
    # Of an operator, still; and after a restart, too.
    assert machines.fleetctl("tokens", "create").code == 0
    machines.kill("c1")
    machines.begin()
    assert machines.fleetctl("status").code == 0


def test_another_controllers_are_renewed_by_a_line(machines: Machines) -> None:
    machines.found()
    machines.add("c2")
    assert "fleetctl cluster renew c2" in machines.cluster("renew").out
    root = machines.root("c2")
    etc = root / "etc/megafleet"
    before = read(etc, OF_A_MACHINE)
    kept = [etc / "controller.env", root / "etc/default/etcd"]
    settings = [one.read_bytes() for one in kept]
    said = machines.cluster("renew", "c2", "-o", "json")
    assert said.code == 0, said.err
    line = said.json["line"].split()[1]

    stranger = machines.cluster("join", "-", text=line)
    assert stranger.code == 1 and "this machine is controller c1 at" in stranger.err
    nowhere = machines.fleetctl("cluster", "join", "-", "--root", str(root / "no"), text=line)
    assert nowhere.code == 1 and "this machine is no controller" in nowhere.err
    assert not (root / "no").exists()

    person = Fleetctl(machines.folder / "c2-person")
    taken = person("cluster", "join", "-", "--root", str(root), text=line)
    assert taken.code == 0, taken.err
    assert not set(before) & set(read(etc, OF_A_MACHINE))
    assert [one.read_bytes() for one in kept] == settings
    assert read(etc, ("issuing/issuing.pem",)) == read(
        machines.folder / "operator", ("issuing/issuing.pem",)
    )
    assert person("cluster", "refresh", "--root", str(root)).code == 0
    assert not any(one["problem"] for one in machines.members().values())


def test_a_line_of_another_cluster_is_refused(machines: Machines, tmp_path: Path) -> None:
    machines.found()
    elsewhere = Machines(tmp_path / "elsewhere")
    where = machines.where("c1")
    root = ("--root", str(elsewhere.root("c1")))
    assert elsewhere.fleetctl("cluster", "init", "--name", "c1", *where, *root).code == 3
    told = elsewhere.fleetctl(
        "cluster", "renew", "c1", "--address", "127.0.0.1", "--root", str(tmp_path / "none"),
        "-o", "json",
    )  # fmt: skip
    said = machines.cluster("join", "-", text=told.json["line"].split()[1])
    assert said.code == 1 and "certificates of another cluster" in said.err


def test_while_etcd_is_down_the_address_is_asked_for(machines: Machines) -> None:
    machines.found()
    machines.add("c2")
    machines.kill_all()
    said = machines.cluster("renew", "c2")
    assert said.code == 4 and "say with --address where c2 is" in said.err
    assert machines.cluster("renew", "c2", "--address", "127.0.0.1").code == 0
    assert machines.cluster("renew").code == 0


def ended(machines: Machines, name: str) -> None:
    """As a year later: certificates of its etcd, and whoever asks it."""
    folder = machines.folder / "operator"
    authority, past = Authority.load(folder / "etcd-ca"), timedelta(minutes=-1)
    etc = machines.root(name) / "etc/megafleet"
    issued = {
        etc / "etcd": authority.issue_server(name, ["127.0.0.1", "localhost"], past),
        etc / "etcd-client": authority.issue_client("megafleet", past),
        folder / "etcd-root": authority.issue_client("root", past),
    }
    for where, one in issued.items():
        write_identity(where, Identity(authority.certificate, one.certificate, one.key))


def test_once_all_has_ended_it_is_mended_while_etcd_runs(machines: Machines) -> None:
    machines.found()
    machines.add("c2")
    for name in ("c1", "c2"):
        machines.kill(name)
        ended(machines, name)
    for name in ("c1", "c2"):
        machines.start_again(name)
    assert machines.cluster("status", "-o", "json").json["trouble"]
    assert machines.cluster("renew").code == 0
    line = machines.cluster("renew", "c2", "--address", "127.0.0.1", "-o", "json").json["line"]
    root = ("--root", str(machines.root("c2")))
    person = Fleetctl(machines.folder / "c2-person")
    assert person("cluster", "join", "-", *root, text=line.split()[1]).code == 0
    eventually(
        lambda: [one["problem"] for one in machines.members().values()] == [None, None],
        "both members answer",
    )


def test_what_ends_soon_is_told_with_the_command_that_renews_it(tmp_path: Path) -> None:
    soon = authority().identity(Role.CONTROLLER, "c1", valid=timedelta(days=20))
    write_identity(tmp_path / "c1/etc/megafleet/controller", soon)
    shown = Fleetctl(tmp_path)("cluster", "status", "--root", str(tmp_path / "c1")).out
    assert re.search(r"controller +19 d  .*  renew it: fleetctl cluster renew\n", shown)
