"""docs/cluster-by-hand.md is true: its commands and the samples of settings make a cluster, and a
machine joins it by a token."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.deployed_commands import command, environment
from tests.processes.cluster.joining_cluster import Machine, agent_of
from tests.processes.daemons import Daemon, eventually
from tests.processes.etcd_process import EtcdProcess, EtcdTls, free_ports
from tests.processes.fleetctl_process import Fleetctl

ROOT = Path(__file__).resolve().parents[3]


def shown(step: str) -> list[str]:
    """The lines of shell of one step."""
    text = (ROOT / "docs/cluster-by-hand.md").read_text()
    part = text.partition(f"**{step}. ")[2].partition("\n**")[0]
    blocks = re.findall(r"(?:^ {4}.*\n)+", part, re.MULTILINE)
    return [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]


def test_what_is_done_by_hand_makes_a_cluster_that_machines_join(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fleetctl = Fleetctl(tmp_path)

    def run(line: str) -> str:
        words = shlex.split(line.replace("$USER", "alice").replace("192.0.2.11", "127.0.0.1"))
        assert words[0] == "fleetctl"
        said = fleetctl(*words[1:])
        assert said.code == 0, (line, said.err)
        return said.out

    for line in shown("1"):
        run(line)
    folder = tmp_path / "etcd-certs/etcd-1"
    tls = EtcdTls(folder / "ca.pem", folder / "cert.pem", folder / "key.pem")
    etcd = EtcdProcess(tmp_path / "etcd", tls)
    listen, join = (f"127.0.0.1:{port}" for port in free_ports(2))
    controller = Daemon("controller-1", tmp_path / "daemon")
    try:
        etcd.start()
        controller.launch(*_controllers_line(tmp_path, etcd.endpoint, listen, join))
        _add, version, token = shown("4")
        run(f"fleetctl contexts add site --identity certs/alice --endpoint {listen}")
        eventually(
            lambda: controller.must_run() and fleetctl("status").code == 0, "the controller leads"
        )
        run(version)
        made = re.fullmatch(r"\(umask 077; (.*) >token\)", token)
        assert made
        host = Machine(tmp_path / "dom0-001", "dom0-001")
        said = host.join(run(made[1]), join)
        assert said.returncode == 0, said.stderr
        with agent_of(host):
            live = fleetctl("wait", "dom0-001", "--for", "host-live", "--timeout", "30")
            assert live.code == 0, live.err
    finally:
        controller.kill()
        etcd.kill()


def _controllers_line(folder: Path, etcd: str, listen: str, join: str) -> list[str]:
    """The unit's, of the sample of settings, with what this machine has instead."""
    text = "\n".join(
        f"{name}={value}"
        for name, value in environment(ROOT / "deploy/settings/controller.env").items()
    )
    for meant, here in (
        ("192.0.2.11:2379,192.0.2.12:2379,192.0.2.13:2379", etcd),
        ("0.0.0.0:7440", listen),
        ("192.0.2.21:7440", listen),
        ("0.0.0.0:7444", join),
        ("192.0.2.21:7444", join),
        ("/etc/megafleet/controller", f"{folder}/certs/controller-1"),
        ("/etc/megafleet/etcd-client", f"{folder}/etcd-certs/megafleet"),
        ("/etc/megafleet/issuing", f"{folder}/issuing"),
    ):
        assert meant in text
        text = text.replace(meant, here)
    settings = dict(line.split("=", 1) for line in text.splitlines())
    program, *options = command(ROOT / "deploy/systemd/fleet-controller.service", settings)
    return [Path(program).name, *options, "--metrics-listen", ""]
