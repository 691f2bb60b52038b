"""Trouble on the lab's dom0: each ends in a named reason, and in the wanted state once it is gone,
with nothing of others touched."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.lab import CONVERGED_SECONDS, POOL, SAMPLES, Lab, until

pytestmark = pytest.mark.lab

FLEET = "lab"
SAMPLE = SAMPLES / "lab-tiny.yaml"
KERNEL = "/var/lib/megafleet/guests/tiny.elf"
VIRSH = "virsh -q -c xen:///system"


def _long(step: str) -> Any:
    return pytest.param(step, marks=pytest.mark.lab_long)


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab(FLEET).without_fleet() as lab:
        lab.fleetctl("apply", "-f", str(SAMPLE))
        yield lab


def problems(lab: Lab) -> dict[str, Any]:
    """By kind, the sentence of one."""
    return {one["kind"]: one["example"] for one in lab.fleetctl("status", FLEET)["problems"]}


def named(lab: Lab, kind: str) -> str:
    """The sentence, once a problem of this kind is told."""
    until(lambda: kind in problems(lab), CONVERGED_SECONDS)
    return str(problems(lab)[kind])


def ask_for(lab: Lab, total: int) -> None:
    lab.fleetctl("scale", FLEET, "--total", str(total), "--no-wait")


def changed(folder: Path, old: str, new: str) -> str:
    """The sample with other words in it, as a file."""
    text = SAMPLE.read_text()
    assert old in text
    file = folder / "changed.yaml"
    file.write_text(text.replace(old, new))
    return str(file)


def afresh(lab: Lab) -> None:
    """VMs keep the template they were made with: away with them, and the sample again."""
    lab.delete()
    lab.fleetctl("apply", "-f", str(SAMPLE))


@pytest.mark.parametrize("step", ["define", *map(_long, ("clone", "start", "await_ready"))])
def test_an_agent_killed_at_a_step_of_bringing_up_goes_on(lab: Lab, step: str) -> None:
    lab.scale(1)
    domains = lab.domains()
    ask_for(lab, 3)
    lab.ssh(killing(step))
    lab.scale(3)
    assert lab.domains().items() >= domains.items()
    assert set(lab.clones()) == lab.names(0, 1, 2) == lab.defined()


@pytest.mark.parametrize("step", ["destroy", _long("undefine")])
def test_an_agent_killed_at_a_step_of_removing_goes_on(lab: Lab, step: str) -> None:
    lab.scale(3)
    domains = lab.domains()
    ask_for(lab, 1)
    lab.ssh(killing(step))
    lab.scale(1)
    assert lab.domains() == {f"{FLEET}-0": domains[f"{FLEET}-0"]}
    assert set(lab.clones()) == lab.names(0) == lab.defined()


def killing(step: str) -> str:
    """Kill the agent as soon as its log tells of the step, of the last seconds or to come."""
    said = f'\'"kind": "{step}"\''
    follow = "timeout 100 journalctl -fu fleet-agent --since -3s -o cat"
    return f"{follow} | grep -m1 {said} >/dev/null && systemctl kill -s KILL fleet-agent"


def test_a_foreign_domain_and_a_foreign_clone_in_the_way_are_left_alone(lab: Lab) -> None:
    lab.ssh(f"zfs create -s -V 16M {POOL}/{FLEET}-1 && zfs set other:mark=here {POOL}/{FLEET}-1")
    xml = f"/run/{FLEET}-foreign.xml"
    lab.ssh(
        f"echo \"<domain type='xen'><name>{FLEET}-0</name><memory unit='MiB'>4</memory><os>"
        f"<type machine='xenpv'>linux</type><kernel>{KERNEL}</kernel></os></domain>\" > {xml}"
        f" && {VIRSH} define {xml}"
    )
    uuid = lab.ssh(f"{VIRSH} domuuid {FLEET}-0").strip()
    ask_for(lab, 3)
    assert "left alone" in named(lab, "conflict")
    until(lambda: f"{FLEET}-2" in lab.domains(), CONVERGED_SECONDS)
    assert lab.ssh(f"{VIRSH} domuuid {FLEET}-0").strip() == uuid
    assert lab.ssh(f"zfs get -H -o value other:mark {POOL}/{FLEET}-1").strip() == "here"

    lab.ssh(f"{VIRSH} undefine {FLEET}-0; zfs destroy {POOL}/{FLEET}-1; rm {xml}")
    afresh(lab)
    lab.scale(3)
    assert set(lab.domains()) == lab.names(0, 1, 2)


def test_a_golden_image_that_is_missing_or_another_is_named(lab: Lab, tmp_path: Path) -> None:
    lab.fleetctl("apply", "-f", changed(tmp_path, 'snapshot: "1"', 'snapshot: "2"'))
    code, said = lab.fleetctl_fails("scale", FLEET, "--total", "1", "--no-wait")
    assert code == 1 and "1 host lacks golden@2" in said

    digest = "sha256:" + "0" * 64
    wrong = changed(tmp_path, 'snapshot: "1"', f'snapshot: "1"\n  digest: {digest}')
    lab.fleetctl("apply", "-f", wrong)
    code, said = lab.fleetctl_fails("scale", FLEET, "--total", "1", "--no-wait")
    assert code == 1 and "1 host lacks golden@1 with the digest sha256:0" in said

    afresh(lab)
    lab.scale(1)


def test_a_kernel_that_does_not_boot_is_named(lab: Lab, tmp_path: Path) -> None:
    lab.ssh("head -c 8192 /dev/zero > /var/lib/megafleet/guests/broken.elf")
    lab.fleetctl("apply", "-f", changed(tmp_path, KERNEL, KERNEL.replace("tiny", "broken")))
    ask_for(lab, 1)
    named(lab, "kernel")
    afresh(lab)
    lab.scale(1)


def test_a_domu_destroyed_behind_our_back_is_started_again(lab: Lab) -> None:
    lab.scale(2)
    domains = lab.domains()
    lab.ssh(f"xl destroy {FLEET}-1")
    until(lambda: lab.domains().get(f"{FLEET}-1", 0) > domains[f"{FLEET}-1"], CONVERGED_SECONDS)
    lab.scale(2)
    assert lab.domains()[f"{FLEET}-0"] == domains[f"{FLEET}-0"]


def test_libvirtd_restarted_under_load_loses_nothing(lab: Lab) -> None:
    lab.scale(1)
    domains = lab.domains()
    ask_for(lab, 6)
    lab.ssh("systemctl restart libvirtd")
    lab.scale(6)
    assert set(lab.domains()) == lab.names(*range(6)) == set(lab.clones())
    assert lab.domains().items() >= domains.items()


def test_a_full_pool_is_named_and_over_when_there_is_room(lab: Lab) -> None:
    available = int(lab.ssh(f"zfs list -Hp -o available {POOL}"))
    left = 64 << 10  # less than a clone's own metadata takes
    lab.ssh(f"zfs create -o refreservation={available - left} {POOL}/ballast")
    try:
        ask_for(lab, 2)
        named(lab, "no_space")
    finally:
        lab.ssh(f"zfs destroy {POOL}/ballast")
    lab.scale(2)


def test_the_doctor_sees_a_lowered_limit_and_tuning_lifts_it_and_undo_brings_it_back(
    lab: Lab,
) -> None:
    def limit() -> str:
        return lab.ssh("prlimit -n -o SOFT --noheadings -p $(pgrep xenconsoled)").strip()

    def verdict() -> Any:
        answer = _doctor(lab)
        return next(one for one in answer["limits"] if one["limit"] == "xenconsoled_files")

    before = limit()
    lab.ssh("prlimit --nofile=64:132008 -p $(pgrep xenconsoled)")
    try:
        assert verdict()["verdict"] == "fixable"
        lab.fleetctl("tune", "--apply")
        assert verdict()["verdict"] == "pass" and int(limit()) > 64
        lab.fleetctl("tune", "--undo")
        assert limit() == "64"
    finally:
        lab.ssh(f"prlimit --nofile={before}:{before} -p $(pgrep xenconsoled)")
        # The host's capacity follows its limits, at the next look at them: tuning is one.
        lab.fleetctl("tune", "--apply")
        lab.fleetctl("tune", "--undo")


def test_a_limit_that_is_met_is_named_in_the_reason_and_is_over_once_lifted(lab: Lab) -> None:
    limit = lab.ssh("prlimit -n -o SOFT --noheadings -p $(pgrep xenconsoled)").strip()
    files = int(lab.ssh("ls /proc/$(pgrep xenconsoled)/fd | wc -l"))
    lab.ssh(f"prlimit --nofile={files}:132008 -p $(pgrep xenconsoled)")
    try:
        ask_for(lab, 2)
        assert "xenconsoled" in named(lab, "console")
    finally:
        lab.ssh(f"prlimit --nofile={limit}:{limit} -p $(pgrep xenconsoled)")
    lab.scale(2)


def _doctor(lab: Lab) -> Any:
    """Whatever the verdict, which is the command's exit status too."""
    return lab.fleetctl_any("doctor")
