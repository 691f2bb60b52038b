"""Tuning real files: applied, applied again, brought back to the last byte."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet_agent.core.limits.dom0_facts import Process
from fleet_agent.core.limits.remedies import BLOCK_PROGRAM, RaiseFiles, WriteValue
from fleet_agent.core.limits.table import LIMITS
from fleet_agent.core.limits.tuning import ChangeKind, LimitChange, tuning
from fleet_agent.core.limits.verdicts import Standing, judge
from fleet_agent.dom0.block_script import STOCK, BlockScript, CannotSwitch
from fleet_agent.dom0.host_tree import HostTree
from fleet_agent.dom0.host_writes import Limits
from fleet_agent.dom0.probe import ProbeInputs, read_facts
from fleet_agent.dom0.tuner import Outcome, Tuner
from fleet_agent.dom0.tuning_record import TuningError, TuningRecordFile
from tests.doubles.dom0_trees import AGENT_PID, Tree, modern_dom0

AROUND = ProbeInputs(own_pid=AGENT_PID)
GUESTS = 1000


class Host:
    """A dom0 of files, a tuner for it, and daemons whose limits are kept here."""

    def __init__(self, root: Path) -> None:
        self.made: Tree = modern_dom0(root)
        self.made.put(BLOCK_PROGRAM, "program")
        self.made.process(510, "xenconsoled", 64, 4096, "xen.service")
        for folder in ("sysctl.d", "modprobe.d", "udev/rules.d", "systemd/system"):
            (root / "etc" / folder).mkdir(parents=True)
        self.files: dict[int, Limits] = {510: (64, 4096), 520: (1024, 524_288)}
        self.record = root.parent / "tuning.json"

    def tuner(self) -> Tuner:
        return Tuner(self.made.tree, TuningRecordFile(self.record), self._set_files)

    def _set_files(self, pid: int, limits: Limits | None = None) -> Limits:
        before = self.files[pid]
        if limits is not None:
            self.files[pid] = limits
            name = self.made.text(f"/proc/{pid}/comm").strip()
            unit = self.made.text(f"/proc/{pid}/cgroup").strip().rpartition("/")[2]
            self.made.process(pid, name, *limits, unit)
        return before

    def apply(self, guests: int = GUESTS) -> tuple[Outcome, ...]:
        facts = read_facts(self.made.tree, AROUND)
        changes = tuning(judge(LIMITS, facts, guests), facts.own_files)
        return self.tuner().apply(changes, facts.processes)

    def failing(self, guests: int = GUESTS) -> set[str]:
        verdicts = judge(LIMITS, read_facts(self.made.tree, AROUND), guests)
        return {one.limit.name for one in verdicts if one.standing is Standing.FIXABLE}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    (tmp_path / "root").mkdir()
    return Host(tmp_path / "root")


def test_what_can_be_lifted_is_lifted_and_brought_back_exactly(host: Host) -> None:
    before, files = dict(host.made.contents()), dict(host.files)
    outcomes = host.apply()
    assert all(one.done for one in outcomes if one.change.act is not None)
    assert not any(one.done for one in outcomes if one.change.kind is ChangeKind.REBOOT)
    # What is left is libvirtd's own file, and grants that need more maptrack frames.
    assert host.failing() == {"libvirtd_workers", "libvirtd_requests", "persistent_grants"}
    assert host.made.text("/proc/sys/kernel/pty/max") == "4096\n"
    assert host.files == {510: (132_008, 132_008), 520: (65_536, 524_288)}
    assert ("systemctl", "daemon-reload") in host.made.ran
    assert ("udevadm", "control", "--reload") in host.made.ran

    undone = host.tuner().undo()
    assert undone and all(one.done for one in undone)
    assert dict(host.made.contents()) == before and host.files == files
    assert not host.record.exists()
    assert host.tuner().undo() == ()


def test_applied_twice_the_first_original_is_kept(host: Host) -> None:
    before = dict(host.made.contents())
    host.apply(250)
    record = json.loads(host.record.read_text())
    host.apply(GUESTS)
    host.apply(GUESTS)
    again = json.loads(host.record.read_text())
    assert record["values"].items() <= again["values"].items()
    assert again["values"]["/sys/module/xen_blkback/parameters/max_persistent_grants"] == "1056"
    host.tuner().undo()
    assert dict(host.made.contents()) == before


def test_a_look_changes_nothing(host: Host) -> None:
    before = dict(host.made.contents())
    facts = read_facts(host.made.tree, AROUND)
    changes = tuning(judge(LIMITS, facts, GUESTS), facts.own_files)
    looked = {one.change.what: one for one in host.tuner().preview(changes, facts.processes)}
    assert dict(host.made.contents()) == before and not host.record.exists()
    grants = looked["/sys/module/xen_blkback/parameters/max_persistent_grants"]
    assert (grants.before, grants.change.after, grants.done) == ("1056", "128", False)
    assert looked["open files of the running xenconsoled"].before == "64"
    assert looked["/etc/xen/scripts/block"].before == "Xen's own script"


def test_a_change_that_fails_says_why_and_the_rest_goes_on(host: Host) -> None:
    before = dict(host.made.contents())
    shutil.rmtree(host.made.root / "etc/modprobe.d")
    (host.made.root / "etc/modprobe.d").write_text("not a folder")
    del host.files[510]
    processes = read_facts(host.made.tree, AROUND).processes
    gone = {name: one for name, one in processes.items() if name != "xenconsoled"}
    changes = (
        LimitChange("a", ChangeKind.LIVE, "x", "1", WriteValue("/proc/sys/no/such", "1")),
        LimitChange("b", ChangeKind.LIVE, "y", "1", RaiseFiles("xenconsoled", 9)),
    )
    first, second = host.tuner().apply(changes, gone)
    assert (first.done, first.error) == (False, "No such file or directory")
    assert (second.done, second.error) == (False, "xenconsoled is not running")
    host.files[510] = (64, 4096)
    outcomes = {one.change.what: one for one in host.apply() if one.change.act}
    failed = outcomes["/etc/modprobe.d/megafleet.conf"]
    assert not failed.done and failed.error
    assert outcomes["/etc/sysctl.d/60-megafleet.conf"].done
    (host.made.root / "etc/modprobe.d").unlink()
    (host.made.root / "etc/modprobe.d").mkdir()
    host.tuner().undo()
    assert dict(host.made.contents()) == before


def test_what_cannot_be_brought_back_stays_in_the_record(host: Host) -> None:
    before = dict(host.made.contents())
    host.apply()
    lost = host.made.root / "proc/sys/vm/max_map_count"
    held = lost.read_text()
    lost.unlink()
    failed = [one for one in host.tuner().undo() if one.error]
    assert [one.change.what for one in failed] == ["/proc/sys/vm/max_map_count"]
    assert json.loads(host.record.read_text())["values"] == {"/proc/sys/vm/max_map_count": "65530"}
    lost.write_text(held)
    (again,) = host.tuner().undo()
    assert again.done and dict(host.made.contents()) == before


def test_a_daemon_restarted_since_is_left_as_it_started(host: Host) -> None:
    host.apply()
    host.made.put("/proc/510/stat", f"510 (xenconsoled) S {' '.join(['1'] * 18)} 77777 7")
    outcomes = {one.change.what: one for one in host.tuner().undo()}
    told = outcomes["open files of the running xenconsoled"]
    assert told.done and "restarted since" in told.change.after
    assert host.files[510] == (132_008, 132_008)


def test_nothing_is_changed_when_it_cannot_be_remembered(host: Host) -> None:
    host.record.mkdir()
    before = dict(host.made.contents())
    with pytest.raises(TuningError, match=r"tuning\.json"):
        host.apply()
    assert dict(host.made.contents()) == before
    host.record.rmdir()
    host.record.write_text("{")
    with pytest.raises(TuningError, match="is broken"):
        host.tuner().undo()


def test_a_value_that_the_kernel_does_not_keep_is_an_error(host: Host) -> None:
    value = host.made.root / "proc/sys/kernel/pid_max"
    value.unlink()
    os.mkfifo(value)
    value.unlink()
    value.symlink_to("/dev/null")
    change = LimitChange(
        "pids", ChangeKind.LIVE, "pid_max", "7", WriteValue("/proc/sys/kernel/pid_max", "7")
    )
    (outcome,) = host.tuner().apply((change,), {})
    assert (outcome.done, outcome.error) == (False, "the kernel keeps ")


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


def test_a_real_process_may_open_more_files_and_fewer_again(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    _, hard = resource.prlimit(sleeper.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(sleeper.pid, resource.RLIMIT_NOFILE, (100, hard))
    tuner = Tuner(HostTree(), TuningRecordFile(tmp_path / "tuning.json"))
    change = LimitChange("x", ChangeKind.LIVE, "files", "200", RaiseFiles("sleep", 200))
    (done,) = tuner.apply((change,), {"sleep": Process("sleep", sleeper.pid, 100)})
    assert done.done, done.error
    assert resource.prlimit(sleeper.pid, resource.RLIMIT_NOFILE) == (200, hard)
    (back,) = tuner.undo()
    assert back.done and resource.prlimit(sleeper.pid, resource.RLIMIT_NOFILE) == (100, hard)


# ---- the block script --------------------------------------------------------------------


@pytest.fixture
def script(tmp_path: Path) -> Iterator[BlockScript]:
    made = modern_dom0(tmp_path)
    made.put(BLOCK_PROGRAM, "program")
    yield BlockScript(made.tree)


def test_the_block_script_goes_and_comes_back(tmp_path: Path, script: BlockScript) -> None:
    stock = (tmp_path / "etc/xen/scripts/block").read_text()
    for _ in range(2):
        script.install()
        assert os.readlink(tmp_path / "etc/xen/scripts/block") == BLOCK_PROGRAM
        assert (tmp_path / STOCK.lstrip("/")).read_text() == stock
    for _ in range(2):
        script.remove()
        assert (tmp_path / "etc/xen/scripts/block").read_text() == stock
        assert sorted(os.listdir(tmp_path / "etc/xen/scripts")) == ["block"]


def test_a_switch_broken_off_is_finished_or_taken_back(tmp_path: Path, script: BlockScript) -> None:
    folder = tmp_path / "etc/xen/scripts"
    os.link(folder / "block", folder / "block.stock")
    script.remove()
    assert sorted(os.listdir(folder)) == ["block"]
    os.link(folder / "block", folder / "block.stock")
    script.install()
    assert script.is_ours


def test_a_script_of_others_is_not_touched(tmp_path: Path, script: BlockScript) -> None:
    place, stock = tmp_path / "etc/xen/scripts/block", tmp_path / STOCK.lstrip("/")
    stock.write_text("of somebody")
    with pytest.raises(CannotSwitch, match="is there already"):
        script.install()
    stock.unlink()
    place.unlink()
    place.symlink_to("theirs")
    with pytest.raises(CannotSwitch, match="a link to theirs"):
        script.install()
    script.remove()
    assert os.readlink(place) == "theirs"
    (tmp_path / BLOCK_PROGRAM.lstrip("/")).unlink()
    with pytest.raises(CannotSwitch, match="there is no /usr/lib/megafleet/block-phy"):
        script.install()


@pytest.mark.skipif(not shutil.which("dpkg-divert"), reason="no dpkg here")
def test_dpkg_is_told_of_the_diversion(tmp_path: Path) -> None:
    made = modern_dom0(tmp_path)
    made.put(BLOCK_PROGRAM, "program")
    made.put("/usr/bin/dpkg-divert", "")
    (tmp_path / "var/lib/dpkg").mkdir(parents=True)
    script = BlockScript(HostTree(tmp_path))

    def diverted() -> str:
        listed = subprocess.run(
            ["dpkg-divert", f"--root={tmp_path}", "--list"], capture_output=True, text=True
        )
        return listed.stdout

    script.install()
    script.install()
    assert "local diversion of /etc/xen/scripts/block to /etc/xen/scripts/block.stock" in diverted()
    script.remove()
    assert "block" not in diverted() and not script.is_ours
