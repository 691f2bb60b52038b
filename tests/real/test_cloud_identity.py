"""A cloud image, booted from its disk with a seed: what its guest makes of who it is."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.identity import Fleet
from fleet.keys import Epoch, Kin, Term
from fleet.ranges import IndexSet
from fleet.spec import check_given
from fleet.v1 import types_pb2 as types
from fleet_agent.core.domain.flavour import Flavour
from fleet_agent.core.model import Batch, Mark
from fleet_agent.drivers.files.storage import FileStorage
from fleet_agent.drivers.files.ways import FOR_QEMU
from fleet_agent.drivers.libvirt.hypervisor import QEMU_CONSOLE_LOG, LibvirtHypervisor
from fleet_agent.drivers.seeds.folder import SeedFolder
from fleet_agent.drivers.seeds.seeded_hypervisor import SeededHypervisor
from tests.contracts.storage.storage_hosts import gather

BUILD = Path(__file__).parents[2] / "deploy" / "guests" / "cloud" / "cloud_image.py"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "megafleet" / "guests"
URI = "qemu:///system"
# A guest emulated on a machine that is busy with other tests.
BOOT_SECONDS = 600.0

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0sSeedsSeedsSeedsSeedsSeedsSeedsSe"
HOSTILE = "\"'\\<&>: - # | %@` {{$(halt)}} ]]>"
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


def why_not_here() -> str:
    """Why this cannot be tried on this machine; empty where it can."""
    if os.geteuid() != 0:
        return "only root makes a cloud image, and a bridge"
    wanted = ("mmdebstrap", "mke2fs", "ip", "qemu-system-x86_64", "virsh")
    if missing := [one for one in wanted if shutil.which(one) is None]:
        return f"not installed here: {' '.join(missing)}"
    asked = subprocess.run(["virsh", "-c", URI, "version"], capture_output=True, text=True)
    return f"{URI} does not answer: {asked.stderr.strip()}" if asked.returncode else ""


pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(bool(why_not_here()), reason=why_not_here() or "it runs here"),
]


@pytest.fixture(scope="module")
def image() -> Path:
    """Kept from one run to the next."""
    made = subprocess.run(
        [sys.executable, str(BUILD), str(CACHE)], capture_output=True, text=True, timeout=1800
    )
    assert made.returncode == 0, made.stderr
    return Path(made.stdout.strip())


@pytest.fixture
def folder(image: Path) -> Iterator[Path]:
    """Where libvirt's QEMU may look, with the golden image in it."""
    made = Path(tempfile.mkdtemp(prefix="megafleet-cloud-", dir="/var/tmp"))
    made.chmod(0o711)
    (made / "images").mkdir()
    (made / "images" / "cloud@1").symlink_to(image / "disk.raw")
    yield made
    shutil.rmtree(made)


@pytest.fixture
def bridge() -> Iterator[str]:
    name = f"mfc{uuid.uuid4().hex[:8]}"
    subprocess.run(["ip", "link", "add", name, "type", "bridge"], check=True)
    subprocess.run(["ip", "link", "set", name, "up"], check=True)
    yield name
    subprocess.run(["ip", "link", "del", name], check=True)


def spec(bridge: str) -> types.FleetSpec:
    return types.FleetSpec(
        image=types.Image(name="cloud", snapshot="1"),
        memory_bytes=384 << 20,
        vcpus=1,
        boot=types.Boot(firmware=types.FIRMWARE_BIOS),
        disk=types.Disk(target="vda"),
        network=types.Network(
            bridge=bridge, prefix="10.91.0.0/16", gateway="10.91.0.1", dns=["10.91.0.1"]
        ),
        identity=types.Identity(
            hostname="{name}.lab.example",
            ssh_keys=[f"{KEY} default"],
            users=[types.User(name="alice", ssh_keys=[f"{KEY}A alice"], groups=["adm"], sudo=True)],
            user_data=USER_DATA,
            values={"note": types.VmValues(texts=["unused", HOSTILE])},
        ),
        readiness=types.Readiness(console_pattern="seen all of", timeout_seconds=BOOT_SECONDS),
    )


async def test_a_guest_has_the_name_keys_users_address_and_data_of_its_seed(
    folder: Path, bridge: str
) -> None:
    fleet = Fleet(str(uuid.uuid4()), f"cloud-{uuid.uuid4().hex[:8]}", 9)
    vm = Batch(
        fleet,
        Kin(fleet.uid, 1, 1),
        spec(bridge),
        Mark(Term(1, 1), Epoch(1, 1)),
        IndexSet.of([1]),
    )
    assert check_given(vm.spec) == []
    seeds, storage = SeedFolder(folder / "seeds"), FileStorage(folder, ways=FOR_QEMU)
    hypervisor = SeededHypervisor(
        LibvirtHypervisor(
            URI, flavour=Flavour.TCG, console_log=QEMU_CONSOLE_LOG, seed_path=seeds.path
        ),
        seeds,
    )
    done = (vm.indices, ())
    try:
        assert await gather(storage.clone(vm)) == done
        assert await gather(hypervisor.define(vm, storage.disk)) == done
        assert await gather(hypervisor.start(vm)) == done
        async with asyncio.timeout(BOOT_SECONDS + 60):
            assert await gather(hypervisor.await_ready(vm)) == done
        log = Path(QEMU_CONSOLE_LOG.replace("{name}", fleet.domain_name(1)))
        seen = told(log)
    finally:
        await gather(hypervisor.undefine(vm))
        await gather(storage.destroy(vm))
    assert seen == {
        "host": fleet.domain_name(1),
        "fqdn": f"{fleet.domain_name(1)}.lab.example",
        "default-key": KEY.split()[1],
        "alice": f"alice adm {KEY.split()[1]}A",
        "note": HOSTILE,
        "told": f"{fleet.domain_name(1)} 1 {fleet.mac(1)} 10.91.0.3",
        "has": "1",
        "route": "10.91.0.1",
    }
    assert all(run.kin != vm.kin for run in await hypervisor.listing())
    assert await seeds.listing() == frozenset(), "it went with its VM"
    await storage.close()
    await hypervisor.close()


def told(log: Path) -> dict[str, str]:
    text = log.read_text(errors="replace").replace("\r", "")
    return dict(re.findall(r"seen ([a-z-]+)=(.*)\.$", text, re.MULTILINE))
