"""The guests of deploy/guests on the lab's Xen dom0: what they say, and whom they answer."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.lab import CONVERGED_SECONDS, POOL, RESTARTED_SECONDS, SAMPLES, Lab, until

pytestmark = pytest.mark.lab

LINUX = "lab-linux"
BRIDGE = "mfbr0"
ADDRESSES = ("10.77.0.2", "10.77.0.3")  # of index 0 and 1 in the sample's prefix
ANSWERED_SECONDS = 300


@pytest.fixture(scope="module")
def linux(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Two Linux guests that run, the first of which pings the second."""
    with Lab(LINUX).without_fleet() as lab:
        lab.fleetctl("apply", "-f", str(_pinging(tmp_path_factory.mktemp("fleet"))))
        lab.scale(2)
        yield lab


def _pinging(folder: Path) -> Path:
    """The sample, with guests that ping the one with index 1."""
    asked = "megafleet.address={address}"
    text = (SAMPLES / f"{LINUX}.yaml").read_text()
    assert asked in text
    file = folder / "pinging.yaml"
    file.write_text(text.replace(asked, f"{asked} megafleet.ping={ADDRESSES[1]}"))
    return file


def _ready(index: int, boots: int) -> str:
    where = f"disk=xvda address={ADDRESSES[index]}/16"
    return f"megafleet: ready name={LINUX}-{index} index={index} {where} boots={boots}"


def test_linux_guests_have_their_derived_identity(linux: Lab) -> None:
    vms = linux.fleetctl("vms", "list", "--fleet", LINUX)["vms"]
    assert [vm["state"] for vm in vms] == ["running", "running"]
    for vm in vms:
        assert _ready(vm["index"], boots=1) in linux.console(vm["name"]).text
        (interface,) = linux.ssh(
            f"virsh -q -c xen:///system domiflist {vm['name']}"
        ).strip().splitlines()  # fmt: skip
        assert BRIDGE in interface.split() and vm["mac"] in interface.split()


@pytest.mark.parametrize("index", [0, pytest.param(1, marks=pytest.mark.lab_long)])
def test_the_dom0_is_answered_from_the_derived_address_and_mac(linux: Lab, index: int) -> None:
    mac = linux.fleetctl("vms", "show", f"{LINUX}-{index}")["mac"]
    linux.ssh(f"ping -c 5 -W 10 {ADDRESSES[index]}")  # fails when nothing is answered
    assert mac in linux.ssh(f"ip neigh show {ADDRESSES[index]} dev {BRIDGE}").split()


def test_guests_answer_each_other_and_the_dom0_answers_them(linux: Lab) -> None:
    first, second = f"{LINUX}-0", f"{LINUX}-1"

    def this_boot() -> str:
        return linux.console(first).text.rpartition(_ready(0, boots=1))[2]

    until(lambda: f"megafleet: ping {ADDRESSES[1]} answered" in this_boot(), CONVERGED_SECONDS)
    for name, address in ((second, ADDRESSES[0]), (first, "10.77.0.1")):
        # What is typed is echoed: the words that are awaited do not stand in it.
        _answers(linux, name, f"ping -c 3 {address} >/dev/null && echo reached $((40 + 2))\r",
                 "reached 42")  # fmt: skip


@pytest.mark.lab_long  # one of another kernel is in test_trouble
def test_a_guest_destroyed_behind_the_agents_back_starts_again_on_its_own_clone(
    linux: Lab,
) -> None:
    first, second = f"{LINUX}-0", f"{LINUX}-1"
    domains = linux.domains()
    other = linux.console(second).text
    guid = f"zfs get -H -o value guid {POOL}/{first}"
    clone = linux.ssh(guid)

    linux.ssh(f"virsh -q -c xen:///system destroy {first}")

    until(lambda: _ready(0, boots=2) in linux.console(first).text, RESTARTED_SECONDS)
    assert linux.domains()[first] != domains[first]
    assert linux.ssh(guid) == clone
    assert linux.domains()[second] == domains[second]
    assert "megafleet: ready" not in linux.console(second).text[len(other) :]
    linux.ssh(f"ping -c 5 -W 10 {ADDRESSES[0]}")


def _answers(lab: Lab, name: str, typed: str, answer: str) -> None:
    before = lab.console(name).text
    lab.type(name, typed)
    until(lambda: answer in lab.console(name).text[len(before) :], ANSWERED_SECONDS)


@pytest.fixture(scope="module")
def tiny() -> Iterator[Lab]:
    """One tiny guest that runs."""
    with Lab("lab").without_fleet() as lab:
        lab.fleetctl("apply", "-f", str(SAMPLES / "lab-tiny.yaml"))
        lab.scale(1)
        yield lab


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("\r", "\nname=lab-0 index=0\n"),
        ("uptime\r", "uptime\nuptime="),
        ("who\r", "who\nmegafleet: ? try id, uptime, halt, reboot\n"),
    ],
)
def test_tiny_answers_on_its_console(tiny: Lab, typed: str, answer: str) -> None:
    _answers(tiny, "lab-0", typed, answer)


def test_tiny_that_halts_is_started_again(tiny: Lab) -> None:
    domain, life = tiny.domains()["lab-0"], tiny.console("lab-0").inode
    tiny.type("lab-0", "halt\r")
    until(lambda: tiny.console("lab-0").inode not in (0, life), RESTARTED_SECONDS)
    until(
        lambda: "megafleet: ready name=lab-0 index=0\n" in tiny.console("lab-0").text,
        RESTARTED_SECONDS,
    )
    assert tiny.domains()["lab-0"] != domain
    before = tiny.ssh("cat /var/log/xen/console/guest-lab-0.log.1")
    assert "megafleet: stopping name=lab-0 index=0\n" in before
