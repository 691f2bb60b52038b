"""An etcd that comes back older, or empty: no VM is stopped, nothing is changed until an operator
has said what holds, and then all goes on. With a real etcd, its own tools, and hollow hosts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fleet.transport import Role
from fleetctl.outcome import ExitCode
from tests.certificates import issue
from tests.processes.daemons import Daemon, eventually
from tests.processes.etcd_process import EtcdProcess
from tests.processes.fleetctl_process import Fleetctl, Said
from tests.processes.small_cluster import SmallCluster


class _Ending(Daemon):
    def end(self) -> tuple[int, str]:
        assert self._process is not None
        return self._process.wait(60), self.said()


def test_a_controller_whose_etcd_was_replaced_says_so_and_ends(tmp_path: Path) -> None:
    etcd = EtcdProcess(tmp_path / "etcd")
    etcd.start()
    identity = issue(tmp_path / "identity", Role.CONTROLLER, "c")
    ready = tmp_path / "ready"
    controller = _Ending("controller", tmp_path)
    command = (
        "fleet-controller", "--listen", "127.0.0.1:0", "--identity", str(identity),
        "--store", f"etcd://{etcd.endpoint}", "--ready-file", str(ready),
    )  # fmt: skip
    controller.launch(*command)
    try:
        eventually(lambda: controller.must_run() and "leading" in controller.said(), "it leads")
        etcd.kill()
        etcd.forget("another-cluster")
        etcd.start()
        code, said = controller.end()
        assert (code, "Traceback" in said) == (1, False), said
        assert "start again to go on with the store as it is" in said
        ready.unlink()
        controller.launch(*command)
        eventually(lambda: controller.must_run() and ready.exists(), "it serves again")
        assert controller.stop() == 0
    finally:
        controller.kill()
        etcd.kill()


class Site:
    """A small cluster and an operator."""

    def __init__(self, cluster: SmallCluster, folder: Path) -> None:
        self.cluster = cluster
        identity = issue(folder / "operator", Role.OPERATOR, "alice")
        self.fleetctl = Fleetctl(folder, (cluster.controller.address,), identity)
        self.backup = folder / "store.db"

    def ask(self, *arguments: str, code: ExitCode = ExitCode.DONE) -> Said:
        said = self.fleetctl(*arguments)
        assert said.code == code, said
        return said

    def running(self) -> dict[str, Any]:
        """What each host's drivers hold, births and all."""
        return {
            host: hollow.listing(host) for hollow in self.cluster.hollows for host in hollow.hosts
        }

    def until_frozen(self) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            self.cluster.controller.must_run()
            said = self.fleetctl("status", "-o", "json")
            freeze = said.json["freeze"] if said.code == ExitCode.DONE else None
            seen = freeze and freeze["hosts_unseen"] == 0
            return freeze if seen and said.json["hosts"]["live"] == self.cluster.live else None

        found = eventually(look, "changes are frozen, and all hosts are heard")
        assert found is not None
        return found


@pytest.fixture
def site(tmp_path: Path) -> Any:
    with SmallCluster(tmp_path / "cluster", hosts=6, per_host=20, processes=1) as cluster:
        found = Site(cluster, tmp_path)
        cluster.apply()
        cluster.scale_and_wait(40)
        yield found


def test_an_etcd_restored_from_a_backup_freezes_changes_and_adopting_stops_no_vm(
    site: Site,
) -> None:
    cluster = site.cluster
    site.ask("backup", str(site.backup))
    cluster.scale_and_wait(60)
    before = site.running()
    cluster.controller.kill()
    cluster.etcd.kill()
    site.ask("restore", str(site.backup), *cluster.etcd.restore_options(), "--yes")
    cluster.etcd.start()
    cluster.controller.start()
    freeze = site.until_frozen()
    assert "it was restored from a backup" in freeze["reason"] and freeze["hosts_ahead"] >= 1
    assert "changes are frozen" in site.ask("status").out
    for change in (["scale", "--total", "10"], ["delete", "spv", "--yes"]):
        said = site.ask(*change, code=ExitCode.FAILED)
        assert "changes are frozen, and VMs go on as they are" in said.err
    assert site.running() == before
    shown = site.ask("recover", "--plan")
    assert "still needed: confirm the totals of spv" in shown.out
    said = site.ask("recover", "--adopt", "--yes", code=ExitCode.NOT_CONVERGED)
    assert "changes stay frozen" in said.out
    said = site.ask("recover", "--adopt", "--total", "spv=60", "--yes")
    assert said.out == "changes are taken again; 'fleetctl status' shows how fleets stand\n"
    cluster.until_converged(60)
    cluster.check("spv", 60)
    assert site.running() == before, "the very same VMs"
    cluster.scale_and_wait(30)
    cluster.scale_and_wait(100)
    cluster.check("spv", 100)
    actions = [one["action"] for one in site.ask("history", "-o", "json").json["records"]]
    assert actions == ["apply", "scale", "freeze", "recover", "scale", "scale"]


def test_an_etcd_that_has_lost_its_fleets_is_filled_from_what_hosts_run(site: Site) -> None:
    """All is lost but where hosts are; they would announce that themselves within a minute."""
    cluster = site.cluster
    for total in (60, 40) * 8:
        # Until hosts have heard of more than a new etcd has seen by the time a leader reads it.
        cluster.scale_and_wait(total)
    before = site.running()
    hosts = cluster.stored("hosts/")
    cluster.controller.kill()
    cluster.etcd.kill()
    cluster.etcd.forget("another-cluster")
    cluster.etcd.start()
    for host, record in hosts.items():
        cluster.put(f"hosts/{host}", record)
    cluster.controller.start()
    site.until_frozen()
    plan = site.ask("recover", "--plan", "--adopt", "-o", "json").json
    (fleet,) = plan["fleets"]
    assert (fleet["fleet"], fleet["running"], fleet["adopted"]) == ("spv", 40, 40)
    site.ask("recover", "--adopt", "--total", "spv=40", "--yes")
    cluster.until_converged(40)
    cluster.check("spv", 40)
    assert site.running() == before


def test_confirming_goes_on_with_the_store_as_it_was_restored(site: Site) -> None:
    cluster = site.cluster
    site.ask("backup", str(site.backup))
    before = site.running()
    cluster.controller.kill()
    cluster.etcd.kill()
    site.ask("restore", str(site.backup), *cluster.etcd.restore_options(), "--yes")
    cluster.etcd.start()
    cluster.controller.start()
    assert site.until_frozen()["hosts_ahead"] == 0, "it is another cluster, and not older"
    site.ask("recover", "--confirm", "--yes")
    cluster.until_converged(40)
    assert site.running() == before
    cluster.scale_and_wait(60)
    cluster.check("spv", 60)
