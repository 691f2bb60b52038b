"""The contracts of storage, images, domains and bridges, held against the dom0's real pool,
hypervisor and kernel: the tests that all adapters pass are sent there with pytest and run in the
agent's environment."""

import io
import shlex
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import files
from itertools import chain

import pytest

from tests.lab.lab import CHECKOUT, POOL, RESTARTED_SECONDS, Lab, until

pytestmark = pytest.mark.lab

FOLDER = "/run/megafleet-contracts"
PARENT = f"{POOL}/contracts"
# Pure Python, so that this machine's packages serve the dom0's Python as well.
PACKAGES = ("pytest", "pytest-asyncio", "pluggy", "iniconfig", "packaging", "pygments")
SECONDS = 1200
# What the contract's template names, and as many volumes as it starts VMs.
STAGE = f"""
for index in $(seq 0 39) 250; do zfs clone {POOL}/golden@1 {POOL}/spv-$index || exit 1; done
ln -sf /var/lib/megafleet/guests/tiny.elf /boot/tiny
echo "read by nobody" > /boot/initrd
ip link add xenbr0 type bridge
udevadm settle
"""
STRIKE = f"""
virsh -q -c xen:///system list --all --name | grep -E '^(spv|other)-' | while read -r name; do
  virsh -q -c xen:///system destroy "$name"; virsh -q -c xen:///system undefine "$name"
done
for index in $(seq 0 39) 250; do
  if zfs list {POOL}/spv-$index; then zfs destroy {POOL}/spv-$index; fi
done
rm -f /boot/tiny /boot/initrd
if ip link show xenbr0; then ip link delete xenbr0; fi
if zfs list {PARENT}; then zfs destroy -r {PARENT}; fi
rm -rf {FOLDER}
"""


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("lab").without_fleet() as lab:
        _strike(lab)
        lab.send(_sent(), FOLDER)
        yield lab
        _strike(lab)


def _strike(lab: Lab) -> None:
    lab.ssh(f"{{ {STRIKE} }} >/dev/null 2>&1; true", seconds=300)


def _sent() -> bytes:
    """The tests, their configuration and what runs them, as a tar archive."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(CHECKOUT / "pyproject.toml", "pyproject.toml")
        tar.add(CHECKOUT / "tests", "tests", filter=_source)
        for file in chain.from_iterable(files(name) or () for name in PACKAGES):
            if file.suffix != ".pyc" and ".." not in file.parts:
                tar.add(str(file.locate()), f"packages/{file}")
    return archive.getvalue()


def _source(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Without what all tests share: it is for hypothesis, which these do without."""
    return None if entry.name.endswith(("__pycache__", "tests/conftest.py")) else entry


@contextmanager
def _without_agent(lab: Lab) -> Iterator[None]:
    """It would tell of VMs that nobody asked it for."""
    lab.ssh("systemctl stop fleet-agent")
    try:
        yield
    finally:
        lab.ssh("systemctl start fleet-agent")
        until(lambda: lab.fleetctl("status")["hosts"]["live"] == 1, RESTARTED_SECONDS)


def _run(lab: Lab, setting: str, adapter: str, *modules: str) -> None:
    run = ["/opt/megafleet/venv/bin/python", "-m", "pytest", "-q", "--color=no"]
    run += ["-k", adapter, *modules]
    said = lab.ssh(f"cd {FOLDER} && PYTHONPATH=packages {setting} {shlex.join(run)}", SECONDS)
    assert " passed" in said and "skipped" not in said, said


@pytest.mark.parametrize(
    "tests",
    ["(TestStorage or is_listed_with)", pytest.param("not fake", marks=pytest.mark.lab_long)],
    ids=["some", "all"],
)
def test_storage_and_images_on_the_real_pool(lab: Lab, tests: str) -> None:
    lab.ssh(f"zfs create {PARENT}")
    modules = ("tests/contracts/storage/test_storage.py", "tests/contracts/images/test_images.py")
    # Not in /tmp, where each look at a file changes its time of last access: mke2fs copies that.
    settings = f"TMPDIR=/var/tmp MEGAFLEET_ZFS_PARENT={PARENT}"
    _run(lab, settings, f"zfs and not fake and {tests}", *modules)


@pytest.mark.parametrize(
    "tests",
    [
        "(each_step_twice or taken_name or takes_active_ones or behind_the_back)",
        pytest.param("test", marks=pytest.mark.lab_long),
    ],
    ids=["some", "all"],
)
def test_domains_on_the_real_hypervisor(lab: Lab, tests: str) -> None:
    with _without_agent(lab):
        lab.ssh(STAGE, seconds=300)
        _run(
            lab,
            "MEGAFLEET_XEN_URI=xen:///system",
            f"xen and {tests}",
            "tests/contracts/hypervisor/test_hypervisor.py",
        )


def test_bridges_and_vlans_on_the_real_kernel(lab: Lab) -> None:
    lab.ssh("modprobe 8021q && modprobe tun")
    _run(lab, "", "namespace", "tests/contracts/bridges/test_bridges.py")
