"""Golden images on the real pool: made of a volume, of a snapshot, of a file; kept while used."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.lab import POOL, SAMPLES, Lab

pytestmark = pytest.mark.lab

FLEET = "lab"
SOURCE = f"{POOL}/images-test-source"
QCOW2 = "/var/tmp/images-test.qcow2"
MADE = ("images-test-a@1", "images-test-a@2", "images-test-b@1", "images-test-c@1")


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab(FLEET).without_fleet() as lab:
        _clear(lab)
        lab.ssh(f"zfs create -V 16M {SOURCE} && udevadm wait --timeout=60 /dev/zvol/{SOURCE}")
        yield lab
        _clear(lab)


def _clear(lab: Lab) -> None:
    there = {f"{one['name']}@{one['snapshot']}" for one in _images(lab)}
    for image in reversed(MADE):
        if image in there:
            lab.fleetctl("images", "delete", image, "--yes")
    lab.ssh(f"rm -f {QCOW2}; zfs list {SOURCE} >/dev/null 2>&1 && zfs destroy -r {SOURCE} || true")


def _images(lab: Lab) -> list[Any]:
    (host,) = lab.fleetctl("images", "list")["hosts"]
    images: list[Any] = host["images"]
    return images


def _write(lab: Lab, text: str) -> None:
    lab.ssh(f"printf '{text}' | dd of=/dev/zvol/{SOURCE} conv=fsync,notrunc status=none")


def _begins(lab: Lab, dataset: str) -> str:
    """What the volume begins with; a snapshot is looked at through a clone."""
    return lab.ssh(
        f"zfs clone {dataset} {POOL}/images-test-look && "
        f"udevadm wait --timeout=60 /dev/zvol/{POOL}/images-test-look && "
        f"head -c 5 /dev/zvol/{POOL}/images-test-look; zfs destroy {POOL}/images-test-look"
    )


def _import(lab: Lab, image: str, source: str) -> Any:
    return lab.fleetctl("images", "import", image, source, seconds=300)


def test_a_volume_a_snapshot_and_a_further_snapshot(lab: Lab) -> None:
    _write(lab, "first")
    lab.ssh(f"zfs snapshot {SOURCE}@then")
    first = _import(lab, "images-test-a", SOURCE)
    _write(lab, "other")
    then = _import(lab, "images-test-b", f"{SOURCE}@then")
    assert first["digest"] == then["digest"] and first["size_bytes"] == 16 << 20
    further = _import(lab, "images-test-a@2", SOURCE)
    assert further["digest"] != first["digest"]
    assert _begins(lab, f"{POOL}/images-test-a@1") == "first"
    assert _begins(lab, f"{POOL}/images-test-a@2") == "other"


def test_a_qcow2_file(lab: Lab) -> None:
    _write(lab, "first")
    lab.ssh(f"qemu-img convert -O qcow2 /dev/zvol/{SOURCE} {QCOW2}")
    volume = _import(lab, "images-test-b", SOURCE)
    file = _import(lab, "images-test-c", QCOW2)
    assert file["digest"] == volume["digest"]
    assert _begins(lab, f"{POOL}/images-test-c@1") == "first"


def test_an_image_in_use_is_kept_and_says_how_many_clones_it_has(lab: Lab) -> None:
    lab.fleetctl("apply", "-f", str(SAMPLES / "lab-tiny.yaml"))
    lab.scale(2)
    status, said = lab.fleetctl_fails("images", "delete", "golden@1", "--yes")
    assert status == 1 and "2 clones" in said
    (host,) = lab.fleetctl("images", "df")["hosts"]
    (fleet,) = [one for one in host["fleets"] if one["fleet"] == FLEET]
    assert fleet["clones"] == 2 and not host["pool"]["nearly_full"]
