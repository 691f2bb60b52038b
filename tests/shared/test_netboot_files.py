"""What dom0s boot over the network: what a boot loader is told, and what programs do."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from fleet_agent.joining.token_sources import on_command_line

NETBOOT = Path(__file__).resolve().parents[2] / "deploy" / "netboot"
SECRET = "6twbbsqwmia2unojtjzwgafumbhnbmz2"
TOKEN = f"mft1.gz7rfats.{SECRET}.oqcxamrgg3mr7fuyzjfygfqgywz2wskv6f6z2ygyhujdxsnw6v6q"
PROGRAMS = sorted((NETBOOT / "rootfs/usr/lib/megafleet/netboot").iterdir())


@pytest.mark.parametrize("example", ["boot.ipxe", "grub.cfg"])
def test_what_a_boot_loader_hands_over_is_an_invitation(example: str) -> None:
    text = (NETBOOT / example).read_text()
    values = dict(re.findall(r'(?m)^set (\w+)[ =]"?([^"\n]*)', text)) | {"token": TOKEN}
    found = 0
    for line in re.findall(r"(?m)^\s*(?:kernel|linux|module2) (\S*vmlinuz.*)$", text):
        for _ in range(3):  # values have values in them
            line = re.sub(r"\$\{?(\w+)\}?", lambda name: values.get(name[1], name[0]), line)
        invitation = on_command_line(line)
        assert invitation is not None and len(invitation.controllers) == 3, line
        assert len(line) < 1024, "longer than boot loaders hand over"
        found += 1
    assert found == (1 if example == "boot.ipxe" else 2)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: str(path.name))
def test_programs_of_the_image_can_be_run(program: Path) -> None:
    assert os.access(program, os.X_OK)
    assert subprocess.run(["sh", "-n", program], check=False).returncode == 0


def test_without_a_disk_that_has_the_label_state_stays_in_memory_and_that_is_said(
    tmp_path: Path,
) -> None:
    (tmp_path / "udevadm").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "udevadm").chmod(0o755)
    (tmp_path / "mount").write_text("#!/bin/sh\necho mounted\n")
    (tmp_path / "mount").chmod(0o755)
    told = subprocess.run(
        [NETBOOT / "rootfs/usr/lib/megafleet/netboot/state"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "MEGAFLEET_LABEL": f"{tmp_path}/none"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "state is in memory, and gone at the next boot" in told.stdout
    assert "mounted" not in told.stdout
