"""fleets import-definition: what it prints, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fleetctl.commands.fleets.import_definition import MAX_BYTES
from fleetctl.main import run
from megafleet.fleet_file.parser import parse_fleet_file
from tests.fleetctl.sample_definitions import DOMAIN, XEN_TOOLS


class TestCommand:
    def test_prints_the_file_and_says_on_stderr_what_was_lost(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        source = tmp_path / "web.cfg"
        source.write_text(XEN_TOOLS)
        assert run(["import", str(source)]) == 0
        said = capsys.readouterr()
        assert parse_fleet_file(said.out, "f").name == "web-example-org"
        assert "# Not carried over, or changed: dhcp: 'dhcp' has no counterpart" in said.out
        assert "web.cfg: not carried over, or changed: dhcp: 'dhcp' has no c" in said.err

    def test_json_has_the_file_and_what_was_lost(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        source = tmp_path / "d.xml"
        source.write_text("\ufeff" + DOMAIN)
        assert run(["import", str(source), "-o", "json", "--image", "debian@13"]) == 0
        said = json.loads(capsys.readouterr().out)
        assert parse_fleet_file(said["fleet_file"], "f").spec.image.name == "debian"
        assert len(said["steps"]) == 2 and len(said["left_out"]) > 5

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            (b"\xff\xfe", "line 1: not UTF-8 text"),
            (b"#" * (MAX_BYTES + 1), "larger than 256 KiB"),
            (b"name = 'a'\n", "the definition says no memory"),
        ],
    )
    def test_what_cannot_be_read_is_a_mistake_of_whoever_typed_it(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, says: str
    ) -> None:
        source = tmp_path / "x"
        source.write_bytes(content)
        assert run(["import", str(source)]) == 2
        assert says in capsys.readouterr().err
        assert run(["import", str(tmp_path / "none")]) == 2
        assert "No such file" in capsys.readouterr().err

    def test_bringing_images_in_is_another_command(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for words, says in ((["import"], "xl.cfg"), (["images", "import"], "golden image")):
            assert run([*words, "--help"]) == 0
            assert says in capsys.readouterr().out
