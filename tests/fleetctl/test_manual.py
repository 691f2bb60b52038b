"""There is a manual page of each command, and troff understands it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import click
import pytest

from fleetctl import manual
from fleetctl.cli.examples import EXAMPLES
from fleetctl.main import cli


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages") / "man1"
    manual.main(folder)
    return folder


def names(command: click.Command = cli, path: str = "fleetctl") -> list[str]:
    found = [path]
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            found += names(below, f"{path}-{name}")
    return found


def test_each_command_has_a_page(folder: Path) -> None:
    assert {one.stem for one in folder.iterdir()} == set(names())
    assert {f"fleetctl-{words}".replace(" ", "-").rstrip("-") for words in EXAMPLES} <= set(names())


def test_a_page_says_what_help_says(folder: Path) -> None:
    page = (folder / "fleetctl-vms-list.1").read_text().replace("\\-", "-")
    for part in (
        ".SH NAME\nfleetctl-vms-list - ",
        "\\fB--state ",
        "fleetctl vms list --all -o csv",
    ):
        assert part in page
    whole = (folder / "fleetctl.1").read_text()
    for part in ("EXIT STATUS", "ENVIRONMENT", "FLEETS AND THEIR VMS", "NO_COLOR", "\\fB130"):
        assert part in whole


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_troff_warns_of_nothing(folder: Path) -> None:
    pages = sorted(map(str, folder.iterdir()))
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-z", *pages], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_nothing_in_a_text_is_an_order_to_troff() -> None:
    text = ".TH evil\n'so /etc/passwd\n\\fB"
    assert manual._text(text) == "\\&.TH evil\n\\(aqso /etc/passwd\n\\efB"
