"""doctor and tune: what they ask of the controller, print, and end with."""

from __future__ import annotations

from typing import Any

import grpc

from fleet.transport import Refusal
from fleet.v1 import agent_pb2 as agent
from tests.processes.controller_double import ControllerDouble
from tests.processes.fleetctl_process import Fleetctl

pytest_plugins = ["tests.processes.fleetctl_fixtures"]

NO_BOUND = 2**32 - 1
V, C = agent.LimitVerdict, agent.TuneChange
GRUB = "/etc/default/grub.d/megafleet.cfg"


def tight() -> agent.DoctorResponse:
    told = agent.DoctorResponse(
        guests=250,
        admits_guests=127,
        binding_limit="dynamic_irqs",
        summary="this host admits 127 guests: dynamic IRQs; install Linux 6.5 for 250",
    )
    rows: list[tuple[str, str, str, str, Any, int, bool, str, str]] = [
        ("pids", "process ids", "32,768", "8,096", V.VERDICT_PASS, 1792, False, "", ""),
        ("xenheap", "Xen's heap", "no Xen here", "", V.VERDICT_NOT_APPLICABLE, NO_BOUND, False,
         "", ""),
        ("libvirtd_files", "open files of libvirtd", "libvirtd is not running", "756",
         V.VERDICT_UNKNOWN, NO_BOUND, False, "", ""),
        ("conring", "Xen's own log", "16 KiB", "256 KiB", V.VERDICT_NEEDS_REBOOT, 16, True,
         'X="$X conring_size=256k"\n# then update-grub, then reboot', GRUB),
        ("maptrack_frames", "maptrack frames", "1,024", "1,532", V.VERDICT_NEEDS_REBOOT, 668,
         False, 'X="$X gnttab=4096"\n# then update-grub, then reboot', GRUB),
        ("dynamic_irqs", "dynamic IRQs", "891", "1,506", V.VERDICT_NEEDS_REBOOT, 127, False,
         "install Linux 6.5\n# then reboot", ""),
        ("xenconsoled_files", "open files of xenconsoled", "1,024", "1,064", V.VERDICT_FIXABLE,
         240, False, "LimitNOFILE=132008", "/etc/systemd/system/xen.service.d/megafleet.conf"),
    ]  # fmt: skip
    for limit, title, value, needed, verdict, admits, advisory, change, file in rows:
        told.verdicts.add(
            limit=limit, title=title, value=value, needed=needed, verdict=verdict,
            admits_guests=admits, advisory=advisory, change=change, file=file, source="a book",
        )  # fmt: skip
    told.met.add(
        limit="ptys", line="Unable to open tty \x1b[31m", where="the journal", meaning="no ptys"
    )
    return told


def roomy() -> agent.DoctorResponse:
    return agent.DoctorResponse(guests=250, admits_guests=425, summary="250 guests fit")


def test_doctor_shows_what_binds_first_grouped_by_what_to_do(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    controller.on("Doctor", tight())
    said = fleetctl("doctor", "dom0-1", "--guests", "250")
    assert said.code == 1 and said.err == ""
    assert said.out == (
        "this host admits 127 guests: dynamic IRQs; install Linux 6.5 for 250\n"
        "\n"
        "needs a reboot, or more:\n"
        "  LIMIT            FOUND   NEEDED   ADMITS\n"
        "  dynamic IRQs     891     1,506    127\n"
        "  maptrack frames  1,024   1,532    668\n"
        "  Xen's own log    16 KiB  256 KiB  slower\n"
        "\n"
        "  by hand:\n"
        "      install Linux 6.5\n"
        "      # then reboot\n"
        f"  in {GRUB}:\n"
        '      X="$X gnttab=4096"\n'
        '      X="$X conring_size=256k"\n'
        "      # then update-grub, then reboot\n"
        "\n"
        "can be changed now ('fleetctl tune dom0-1 --apply' does what it can):\n"
        "  LIMIT                      FOUND  NEEDED  ADMITS\n"
        "  open files of xenconsoled  1,024  1,064   240\n"
        "\n"
        "  in /etc/systemd/system/xen.service.d/megafleet.conf:\n"
        "      LimitNOFILE=132008\n"
        "\n"
        "could not be read, and does not bind:\n"
        "  LIMIT                   WHY\n"
        "  open files of libvirtd  libvirtd is not running\n"
        "\n"
        "met since the host was booted, as its logs tell:\n"
        "  no ptys (ptys)\n"
        "      the journal: Unable to open tty \\x1b[31m\n"
        "\n"
        "1 limit passed; 1 does not apply (--all)\n"
    )
    (asked,) = controller.asked("Doctor")
    assert (asked.host, asked.guests) == ("dom0-1", 250)


def test_doctor_with_all_shows_the_rest(fleetctl: Fleetctl, controller: ControllerDouble) -> None:
    controller.on("Doctor", tight())
    out = fleetctl("doctor", "--full").out
    assert "passes:\n" in out and "  process ids  32,768  8,096   1,792\n" in out
    assert "does not apply:\n  LIMIT       WHY\n  Xen's heap  no Xen here\n" in out


def test_doctor_ends_with_0_when_the_density_fits(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    controller.on("Doctor", roomy())
    said = fleetctl("doctor")
    assert (said.code, said.out.splitlines()[0]) == (0, "250 guests fit")
    (asked,) = controller.asked("Doctor")
    assert (asked.host, asked.guests) == ("", 0)


def test_doctor_as_json(fleetctl: Fleetctl, controller: ControllerDouble) -> None:
    controller.on("Doctor", tight())
    told = fleetctl("doctor", "dom0-1", "-o", "json")
    assert told.code == 1
    held = told.json
    assert (held["host"], held["guests"], held["admits"], held["fits"]) == (
        "dom0-1", 250, 127, False,
    )  # fmt: skip
    assert held["binding_limit"] == "dynamic_irqs" and held["summary"]
    assert held["limits"][1]["admits"] is None
    assert held["limits"][6] == {
        "limit": "xenconsoled_files", "title": "open files of xenconsoled", "verdict": "fixable",
        "value": "1,024", "needed": "1,064", "admits": 240, "advisory": False,
        "change": "LimitNOFILE=132008", "source": "a book",
        "file": "/etc/systemd/system/xen.service.d/megafleet.conf",
    }  # fmt: skip
    assert [one["verdict"] for one in held["limits"]] == [
        "pass", "not_applicable", "unknown", "needs_reboot", "needs_reboot", "needs_reboot",
        "fixable",
    ]  # fmt: skip
    assert held["met"][0]["limit"] == "ptys"


def test_a_host_that_cannot_be_reached_is_told(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    said = "dom0-9 cannot be reached"
    controller.on("Doctor", Refusal(grpc.StatusCode.UNAVAILABLE, "HOST_UNREACHABLE", said))
    told = fleetctl("doctor", "dom0-9")
    assert (told.code, told.out, told.err) == (1, "", f"fleetctl: {said}\n")


def changed(done: bool = False, error: str = "") -> agent.TuneResponse:
    answer = agent.TuneResponse()
    answer.changes.add(
        limit="pids", kind=C.KIND_LIVE, what="/proc/sys/kernel/pid_max", before="32768",
        after="4194303", done=done,
    )  # fmt: skip
    answer.changes.add(
        limit="pids", kind=C.KIND_PERSISTENT, what="/etc/sysctl.d/60-megafleet.conf",
        before="absent", after="kernel.pid_max = 4194303; vm.max_map_count = 262144",
        done=done and not error, error=error,
    )  # fmt: skip
    answer.changes.add(
        limit="conring", kind=C.KIND_REBOOT, what=GRUB,
        after='X="$X conring_size=256k"; update-grub, then reboot',
    )  # fmt: skip
    return answer


def test_tune_shows_what_it_would_do(fleetctl: Fleetctl, controller: ControllerDouble) -> None:
    controller.on("Tune", changed())
    said = fleetctl("tune", "dom0-1")
    assert said.code == 0
    assert said.out == (
        "would be changed at once:\n"
        "  WHAT                      BEFORE  AFTER\n"
        "  /proc/sys/kernel/pid_max  32768   4194303\n"
        "\n"
        "files that would be written:\n"
        "  /etc/sysctl.d/60-megafleet.conf\n"
        "      kernel.pid_max = 4194303\n"
        "      vm.max_map_count = 262144\n"
        "\n"
        "for you to do:\n"
        f"  in {GRUB}:\n"
        '      X="$X conring_size=256k"\n'
        "      # then update-grub, then reboot\n"
        "\n"
        "to do it: fleetctl tune dom0-1 --apply; --undo brings it back\n"
    )
    (asked,) = controller.asked("Tune")
    assert (asked.host, asked.apply, asked.undo, asked.guests) == ("dom0-1", False, False, 0)


def test_tune_applies_and_tells_how_the_host_stands(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    answer = changed(done=True)
    answer.after.CopyFrom(roomy())
    controller.on("Tune", answer)
    said = fleetctl("tune", "dom0-1", "--apply", "--guests", "400")
    assert said.code == 0
    assert "  /proc/sys/kernel/pid_max  32768   4194303  done\n" in said.out
    assert "  /etc/sysctl.d/60-megafleet.conf: done\n" in said.out
    assert said.out.endswith("\n250 guests fit\n")
    (asked,) = controller.asked("Tune")
    assert (asked.apply, asked.undo, asked.guests) == (True, False, 400)


def test_a_change_that_failed_is_told_and_is_a_failure(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    controller.on("Tune", changed(done=True, error="Read-only file system"))
    said = fleetctl("tune", "--apply")
    assert said.code == 1 and said.told == "fleetctl: 1 change failed; the rest is done\n"
    assert "/etc/sysctl.d/60-megafleet.conf: failed: Read-only file system\n" in said.out


def test_tune_as_json(fleetctl: Fleetctl, controller: ControllerDouble) -> None:
    controller.on("Tune", changed())
    held = fleetctl("tune", "-o", "json").json
    assert (held["host"], held["wish"], held["after"]) == (None, "plan", None)
    assert [one["kind"] for one in held["changes"]] == ["live", "persistent", "reboot"]
    assert held["changes"][0] == {
        "limit": "pids", "kind": "live", "what": "/proc/sys/kernel/pid_max", "before": "32768",
        "after": "4194303", "done": False, "error": "",
    }  # fmt: skip
    answer = agent.TuneResponse()
    answer.after.CopyFrom(roomy())
    controller.on("Tune", answer)
    held = fleetctl("tune", "dom0-1", "--undo", "-o", "json").json
    assert held["wish"] == "undo" and held["after"]["fits"] is True


def test_nothing_to_change(fleetctl: Fleetctl, controller: ControllerDouble) -> None:
    controller.on("Tune", agent.TuneResponse())
    assert fleetctl("tune", "dom0-1").out == "dom0-1: nothing to change\n"
    assert fleetctl("tune", "--undo").out == "nothing was changed by tuning\n"


def test_wishes_exclude_each_other(fleetctl: Fleetctl, controller: ControllerDouble) -> None:
    said = fleetctl("tune", "--apply", "--undo")
    assert said.code == 2 and "exclude each other" in said.err and not controller.requests
    assert fleetctl("doctor", "--guests", "0").code == 2
