"""The agent of this checkout, installed in the dom0 and joined to the lab's cluster.

It gets a certificate and the controller's address, as on any host; and, because the dom0 is
behind QEMU's address translation, the address at which the controller reaches it.
"""

import io
import json
import tarfile
import time
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..building.dom0_setup import SITE_PACKAGES, SOURCES
from ..errors import LabError
from ..folders import CHECKOUT, GUEST_SOURCES, Folders
from .lab_cluster import HOST_ID, Cluster, host_state
from .machine import AGENT_PORT, Machine
from .secure_shell import Dom0

# QEMU's user network shows this machine's loopback to its guest under this address.
_HOST_SEEN_FROM_DOM0 = "10.0.2.2"
_PACKAGES = (Path("proto/fleet"), Path("agent/fleet_agent"))
_UNIT = CHECKOUT / "deploy" / "systemd" / "fleet-agent.service"
_GUESTS_BUILT = GUEST_SOURCES / "out"
# The guests in the dom0, where the samples look for them.
GUESTS_FOLDER = "var/lib/megafleet/guests"
GUESTS = ("tiny.elf", "linux/vmlinuz", "linux/initrd.img")
_INSTALL = (
    f"rm -rf {SOURCES} && tar -C / -xf - && systemctl daemon-reload"
    " && systemctl enable -q fleet-agent && systemctl restart fleet-agent"
)
_PAUSE_SECONDS = 2.0
# What a batch of driver calls may take: on a busy machine, four emulated starts at once were seen
# to take longer than the minute that is the agent's default.
_CALL_SECONDS = 300.0


def install_agent(
    dom0: Dom0, machine: Machine, cluster: Cluster, identity: Mapping[str, bytes]
) -> None:
    """Put the agent, its settings and the guests into the dom0 and start it anew. VMs stay."""
    files = dict([*_sources(), _metadata()])
    files["etc/systemd/system/fleet-agent.service"] = _UNIT.read_bytes()
    files["etc/megafleet/agent.toml"] = _settings(machine, cluster).encode()
    files.update(_guests())
    for name, content in identity.items():
        files[f"etc/megafleet/identity/{name}"] = content
    dom0.run(_INSTALL, stdin=_archive(files), deadline=600)


def wait_joined(folders: Folders, machine: Machine, deadline: float) -> None:
    """Until the controller says that the dom0 is live, at most `deadline` seconds."""
    end = time.monotonic() + deadline
    while (state := host_state(folders)) != "live":
        if machine.process.wait_gone(_PAUSE_SECONDS):
            raise LabError("the emulated machine ended while its agent joined")
        if time.monotonic() > end:
            raise LabError(
                f"the controller sees host {HOST_ID} as {state or 'unknown'} after "
                f"{deadline:.0f} s; its agent's log: lab.py ssh journalctl -u fleet-agent"
            )


def _sources() -> Iterator[tuple[str, bytes]]:
    for package in _PACKAGES:
        for file in sorted((CHECKOUT / package).rglob("*.py")):
            yield f"{SOURCES.lstrip('/')}/{file.relative_to(CHECKOUT)}", file.read_bytes()


def _metadata() -> tuple[str, bytes]:
    """What tells the agent its own version, as an installed package would."""
    version = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["version"]
    text = f"Metadata-Version: 2.1\nName: megafleet\nVersion: {version}\n"
    return f"{SITE_PACKAGES}/megafleet-{version}.dist-info/METADATA", text.encode()


def _guests() -> Iterator[tuple[str, bytes]]:
    for name in GUESTS:
        built = _GUESTS_BUILT / name
        if not built.exists():
            raise LabError(f"{built} is missing; run: make guests")
        yield f"{GUESTS_FOLDER}/{name}", built.read_bytes()


def _settings(machine: Machine, cluster: Cluster) -> str:
    # A JSON string is a TOML string.
    endpoint = json.dumps(f"{_HOST_SEEN_FROM_DOM0}:{cluster.port}")
    advertise = json.dumps(f"127.0.0.1:{machine.agent_port}")
    listen = json.dumps(f"0.0.0.0:{AGENT_PORT}")
    return (
        f"endpoints = [{endpoint}]\nlisten = {listen}\nadvertise = {advertise}\n"
        f"[timing]\ncall = {_CALL_SECONDS}\n"
    )


def _archive(files: Mapping[str, bytes]) -> bytes:
    """A tar file of root's, private keys readable by root alone."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime = len(content), int(time.time())
            entry.mode = 0o600 if name.endswith("key.pem") else 0o644
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()
