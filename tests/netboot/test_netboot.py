"""A bare machine boots what make netboot has made, over DHCP, iPXE and HTTP, joins a cluster by the
kernel's command line, and gets a VM; and boots again. Emulated: minutes (make netboot-test)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.netboot.machine import NAME, Machine
from tests.netboot.network import ADDRESS, network
from tests.processes.founded_machines import Machines

pytestmark = pytest.mark.netboot
pytest_plugins = ["tests.processes.founding_fixtures"]

ROOT = Path(__file__).resolve().parents[2]
IMAGE = Path(os.environ.get("MEGAFLEET_NETBOOT", ROOT / "dist" / "netboot"))
GUEST = ROOT / "deploy" / "guests" / "out" / "linux"
BOOT_SECONDS, VM_SECONDS = 900.0, 900.0
# Without readiness: a kernel that is emulated by an emulated machine takes a quarter of an hour and
# more. The VM runs once its QEMU does.
_FLEET = """\
name: tiny
image: {{name: golden, snapshot: "1"}}
memory: 96MiB
vcpus: 1
boot:
  kernel: {kernel}
  initrd: {initrd}
  cmdline: "console=ttyS0 quiet no_timer_check name={{name}} index={{index}}"
disk: {{target: xvda, size: 16MiB, read_only: false}}
"""


class Cluster:
    """A founded control plane, seen by who founded it."""

    def __init__(self, machines: Machines) -> None:
        self._machines = machines
        machines.found(ADDRESS)
        line = machines.init("-o", "json", address=ADDRESS).json["commands"][0]
        machines.start("c1", line.replace("$OPTIONS", '$OPTIONS --metrics-listen ""'))
        _until(lambda: machines.init(address=ADDRESS).code == 0, 120, "the controller answers")

    @property
    def join_address(self) -> str:
        where = self._machines.where("c1", ADDRESS)
        return f"{ADDRESS}:{where[where.index('--join-port') + 1]}"

    def says(self, *arguments: str) -> str:
        said = self._machines.fleetctl(*arguments)
        assert said.code == 0, (arguments, said.err)
        return said.out

    def host(self) -> dict[str, Any]:
        """The machine, as the cluster sees it; empty while it does not know it."""
        hosts = self._machines.fleetctl("hosts", "-o", "json").json["hosts"]
        return next((one for one in hosts if one["host"] == NAME), {})

    def is_live(self) -> bool:
        return bool(self.host().get("health") == "live")

    def running(self) -> bool:
        fleets = self._machines.fleetctl("status", "tiny", "-o", "json").json["fleets"]
        return bool(fleets[0]["states"]["running"] == 1)


@pytest.fixture
def cluster(machines: Machines, tmp_path: Path) -> Iterator[Cluster]:
    for needed in ("dnsmasq", "qemu-system-x86_64"):
        if shutil.which(needed) is None:
            pytest.skip(f"{needed} is not installed")
    if not (IMAGE / "initrd.img").exists():
        pytest.skip(f"{IMAGE} has no image: make netboot")
    served = tmp_path / "served"
    served.mkdir()
    with network(served, "boot.ipxe"):
        made = Cluster(machines)
        for name in ("vmlinuz", "initrd.img"):
            (served / name).symlink_to(IMAGE / name)
        token = made.says(
            "tokens", "create", "--name", "dom0-*", "--cidr", "10.213.77.0/24", "--uses", "9"
        )
        (served / "boot.ipxe").write_text(_script(token.strip(), made.join_address))
        yield made


def _script(token: str, controllers: str) -> str:
    """The example, as a person fills it in; with a console that a test can read."""
    script = (IMAGE / "boot.ipxe").read_text()
    script = re.sub(r"(?m)^set token .*$", f"set token {token}", script)
    script = re.sub(r"(?m)^set controllers .*$", f"set controllers {controllers}", script)
    return script.replace("console=tty0 quiet", "console=ttyS0,115200 mitigations=off")


@pytest.fixture
def machine(cluster: Cluster, tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    try:
        yield made
    finally:
        made.cut_power()


def test_a_bare_machine_boots_joins_and_gets_a_vm_and_does_so_again(
    cluster: Cluster, machine: Machine, tmp_path: Path
) -> None:
    began = time.monotonic()
    machine.switch_on()
    _boots(cluster, machine, began)
    disk = tmp_path / "disk.raw"
    disk.write_bytes(b"")
    os.truncate(disk, 16 << 20)
    subprocess.run(["mkfs.ext4", "-q", disk], check=True)
    _push_and_run(cluster, disk, tmp_path)
    _awaits(cluster.running, VM_SECONDS, "a VM runs", machine, began)

    # Nothing is left of it: another key, an empty ledger, no image.
    machine.cut_power()
    _awaits(lambda: not cluster.is_live(), 120, "it is missed", machine, began)
    machine.switch_on()
    _boots(cluster, machine, began)


def test_with_a_disk_that_has_the_label_a_reboot_is_one_of_any_host(
    cluster: Cluster, tmp_path: Path
) -> None:
    disk = tmp_path / "state.raw"
    disk.write_bytes(b"")
    os.truncate(disk, 4 << 30)
    subprocess.run(["mkfs.ext4", "-q", "-L", "megafleet", disk], check=True)
    machine, began = Machine(tmp_path, disk), time.monotonic()
    try:
        machine.switch_on()
        _boots(cluster, machine, began)
        used = cluster.says("tokens", "-o", "json")
        machine.cut_power()
        _awaits(lambda: not cluster.is_live(), 120, "it is missed", machine, began)
        machine.switch_on()
        _boots(cluster, machine, began)
        assert "megafleet: state is on /dev/vda" in machine.said()
        assert cluster.says("tokens", "-o", "json") == used, "it has joined once more"
    finally:
        machine.cut_power()


def _push_and_run(cluster: Cluster, disk: Path, folder: Path) -> None:
    kernel, initrd = GUEST / "vmlinuz", GUEST / "initrd.img"
    boot = ("--kernel", str(kernel), "--initrd", str(initrd))
    cluster.says("images", "push", "golden@1", str(disk), *boot, "--all")
    where = "/var/lib/megafleet/kernels/golden+1."
    fleet = folder / "fleet.yaml"
    fleet.write_text(_FLEET.format(kernel=f"{where}kernel", initrd=f"{where}initrd"))
    cluster.says("apply", "-f", str(fleet))
    cluster.says("scale", "tiny", "--total", "1", "--no-wait")


def _boots(cluster: Cluster, machine: Machine, began: float) -> None:
    _awaits(cluster.is_live, BOOT_SECONDS, "it has booted and joined", machine, began)


def _awaits(
    seen: Callable[[], bool], seconds: float, what: str, machine: Machine, began: float
) -> None:
    _until(lambda: seen() or (not machine.is_on and what != "it is missed"), seconds, what, machine)
    assert seen(), f"the machine is off: {machine.said()[-3000:]}"
    print(f"{time.monotonic() - began:5.0f} s  {what}", flush=True)


def _until(
    seen: Callable[[], bool], seconds: float, what: str, machine: Machine | None = None
) -> None:
    end = time.monotonic() + seconds
    while not seen():
        said = machine.said()[-3000:] if machine else ""
        assert time.monotonic() < end, f"not within {seconds:.0f} s: {what}\n{said}"
        time.sleep(1.0)  # what a machine on its way has done, nothing announces
