"""A cloud image, imported and booted from its disk as people do it: what its guest makes of who it
is, and who reaches it over the bridge that the agent makes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.real_sandbox import RealSandbox, sandbox, until, why_not_here

BUILD = Path(__file__).parents[2] / "deploy" / "guests" / "cloud" / "cloud_image.py"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "megafleet" / "guests"
DEFINITIONS = Path("/etc/libvirt/qemu")
HOSTILE = "\"'\\<&>: - # | %@` {{$(halt)}} ]]>"
IP, GATEWAY = "10.91.0.2", "10.91.0.1"
FLEET = """\
name: {fleet}
image: {{name: debian, snapshot: "13"}}
memory: 384MiB
network:
  {{bridge: {bridge}, create: true, prefix: 10.91.0.0/16, gateway: {gateway}, dns: [{gateway}]}}
readiness: {{console: "seen all of", timeout: 10m}}
on_loss: wait
identity:
  hostname: "{{name}}.lab.example"
  ssh_keys: ["{key} default"]
  users: [{{name: alice, ssh_keys: ["{key} alice"], groups: [adm], sudo: true}}]
  values: {{note: [{hostile}]}}
  user_data_file: user.yaml
"""
USER_DATA = """#cloud-config
write_files:
  - path: /etc/note
    content: "{note}"
  - path: /usr/local/bin/tell
    permissions: "0755"
    content: |
      #!/bin/sh
      say() {{ echo "seen $1=$2." >/dev/console; }}
      say host "$(hostname)"
      say fqdn "$(hostname -f)"
      say default-key "$(cut -d' ' -f2 /home/debian/.ssh/authorized_keys)"
      say alice "$(id -Gn alice) $(cut -d' ' -f2 /home/alice/.ssh/authorized_keys)"
      say note "$(cat /etc/note)"
      say told "{name} {index} {mac} {ip}"
      say has "$(ip -4 -o addr show scope global | grep -c ' {address} ')"
      say route "$(ip route show default | cut -d' ' -f3)"
      echo "seen all of {name}" >/dev/console
runcmd:
  - [/usr/local/bin/tell]
"""


def why_no_cloud() -> str:
    """Why this cannot be tried on this machine; empty where it can."""
    if os.geteuid() != 0:
        return "only root makes a cloud image, and a bridge"
    wanted = ("mmdebstrap", "mke2fs", "ip", "ping", "ssh", "ssh-keygen")
    missing = [one for one in wanted if shutil.which(one) is None]
    return f"not installed here: {' '.join(missing)}" if missing else why_not_here()


pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(bool(why_no_cloud()), reason=why_no_cloud() or "it runs here"),
]


def run(*command: str | Path, seconds: float = 120.0) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    assert done.returncode == 0, f"{' '.join(map(str, command))}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


@pytest.fixture(scope="module")
def image() -> Path:
    """The disk; kept from one run to the next."""
    return Path(run(sys.executable, BUILD, CACHE, seconds=1800)) / "disk.raw"


@pytest.fixture
def somebody() -> Iterator[str]:
    """A network namespace, from which the VMs are to be reached."""
    name = f"mf-{uuid.uuid4().hex[:8]}"
    run("ip", "netns", "add", name)
    yield name
    run("ip", "netns", "del", name)


def join(namespace: str, bridge: str) -> None:
    """The namespace is the VMs' gateway, by a port of their bridge."""
    port = f"p{bridge}"
    run("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", namespace)
    run("ip", "link", "set", port, "master", bridge, "up")
    run("ip", "-n", namespace, "addr", "add", f"{GATEWAY}/16", "dev", "eth0")
    run("ip", "-n", namespace, "link", "set", "eth0", "up")


def bridges() -> set[str]:
    return set(
        re.findall(r"^\d+: ([^:@]+)", run("ip", "-o", "link", "show", "type", "bridge"), re.M)
    )


def test_a_cloud_image_runs_as_a_fleet_whose_vms_know_who_they_are(
    tmp_path: Path, image: Path, somebody: str
) -> None:
    bridge = f"mf{uuid.uuid4().hex[:8]}"
    # Its own: libvirt is the machine's, and may have domains of a run that was ended midway.
    fleet = f"cloud{uuid.uuid4().hex[:4]}"
    vm = f"{fleet}-0"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", tmp_path / "key")
    key = (tmp_path / "key.pub").read_text().strip()
    disk = tmp_path / "debian-13.qcow2"
    run("qemu-img", "convert", "-O", "qcow2", image, disk)
    file = tmp_path / "fleet.yaml"
    hostile = "'" + HOSTILE.replace("'", "''") + "'"
    file.write_text(
        FLEET.format(fleet=fleet, bridge=bridge, gateway=GATEWAY, key=key, hostile=hostile)
    )
    (tmp_path / "user.yaml").write_text(USER_DATA)
    with sandbox(tmp_path, "real-cloud") as real:
        real.up("--real", "1", "--start", "boot")
        real.fleetctl("images", "import", "debian@13", str(disk))
        real.fleetctl("apply", "-f", str(file))
        real.fleetctl("scale", fleet, "--total", "1")
        shown = real.asked("vms", "show", vm)
        assert (shown["state"], shown["address"]) == ("running", IP)
        assert seen(real, vm) == {
            "host": vm,
            "fqdn": f"{vm}.lab.example",
            "default-key": key.split()[1],
            "alice": f"alice adm {key.split()[1]}",
            "note": HOSTILE,
            "told": f"{vm} 0 {shown['mac']} {IP}",
            "has": "1",
            "route": GATEWAY,
        }

        join(somebody, bridge)
        inside = ("ip", "netns", "exec", somebody)
        run(*inside, "ping", "-c", "1", "-w", "60", IP)
        options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "ConnectTimeout=60")
        login = [
            "ssh",
            "-i",
            str(tmp_path / "key"),
            *(f"-o{one}" for one in options),
            f"alice@{IP}",
        ]
        assert run(*inside, *login, "sudo whoami && hostname") == f"root\n{vm}"
        run("ip", "-n", somebody, "link", "del", "eth0")

        seeds = real.real.storage / "seeds"
        assert [one.name.partition(".")[0] for one in seeds.iterdir()] == [vm]
        real.fleetctl("scale", fleet, "--total", "0")
        until(lambda: not list(seeds.iterdir()), "its seed goes with it")
        until(lambda: bridge not in bridges(), "the bridge goes with the last VM")

        # It comes again with the next VM, which nobody ends before the sandbox goes.
        real.fleetctl("scale", fleet, "--total", "1", "--no-wait")
        until(lambda: bridge in bridges(), "the bridge is made for the VM")
    assert bridge not in bridges(), "the sandbox took it away"
    assert not (DEFINITIONS / f"{vm}.xml").exists(), "so it did with what libvirt has of the VM"


def seen(real: RealSandbox, vm: str) -> dict[str, str]:
    text = (real.real.consoles / f"{vm}.log").read_text(errors="replace").replace("\r", "")
    return dict(re.findall(r"seen ([a-z-]+)=(.*)\.$", text, re.MULTILINE))
