"""An etcd that comes back empty: the controller ends with one sentence, and no VM is stopped."""

from __future__ import annotations

from pathlib import Path

from fleet.transport import Role
from tests.certificates import issue
from tests.cluster.daemons import Daemon, eventually
from tests.cluster.etcd_process import EtcdProcess


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
