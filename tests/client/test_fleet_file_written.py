"""A fleet written as the file that makes it, and files that hold several."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.v1 import types_pb2 as types
from megafleet.fleet_file.documents import MAX_FLEETS, FleetFileError
from megafleet.fleet_file.parser import parse_fleet_file, parse_fleets
from megafleet.fleet_file.writing import fleet_file_text
from tests.doubles.fleet_specs import good_specs

SAMPLES = Path(__file__).parents[2] / "deploy" / "samples"
LEAST = "name: NAME\nimage: {name: golden, snapshot: 1}\nmemory: 256MiB\n"


@settings(max_examples=100, deadline=None)
@given(good_specs())
def test_any_fleet_written_as_a_file_is_read_as_the_same(spec: types.FleetSpec) -> None:
    text = fleet_file_text("spv", spec)
    read = parse_fleet_file(text, "f.yaml")
    assert (read.name, read.spec) == ("spv", spec), text


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_the_samples_come_back_as_they_are(path: Path) -> None:
    parsed = parse_fleet_file(path.read_text(), path.name, path.parent)
    written = fleet_file_text(parsed.name, parsed.spec)
    again = parse_fleet_file(written, "again.yaml")
    assert again == parsed and fleet_file_text(again.name, again.spec) == written


@given(st.integers(0, 2**53).map(lambda n: 0.1 + n / 2**53))
def test_any_time_is_written_so_that_it_is_read_as_it_is(seconds: float) -> None:
    spec = parse_fleet_file(LEAST.replace("NAME", "spv"), "f").spec
    spec.readiness.timeout_seconds = seconds
    assert parse_fleet_file(fleet_file_text("spv", spec), "f").spec == spec


def test_what_is_as_by_default_is_left_out() -> None:
    spec = parse_fleet_file(LEAST.replace("NAME", "spv"), "f").spec
    assert fleet_file_text("spv", spec).splitlines() == [
        "name: spv", "image:", "  name: golden", "  snapshot: '1'", "memory: 256MiB", "boot:",
        "  firmware: bios",
    ]  # fmt: skip


def test_a_file_may_hold_several_fleets() -> None:
    text = "\n---\n".join(LEAST.replace("NAME", name) for name in ("a", "b", "c"))
    assert [one.name for one in parse_fleets(f"---\n{text}---\n", "f")] == ["a", "b", "c"]


def test_mistakes_of_all_fleets_of_a_file_are_told_with_their_lines() -> None:
    texts = (LEAST.replace("NAME", "a") + "vcpu: 1\n", LEAST.replace("NAME", "a"), "name: b\n")
    with pytest.raises(FleetFileError) as caught:
        parse_fleets("---\n".join([*texts, LEAST.replace("NAME", "a")]), "f.yaml")
    said = str(caught.value).split("\n")
    assert said[0].startswith("f.yaml:4: vcpu: no such field; did you mean vcpus?")
    assert any(line.startswith("f.yaml:10: image.name: is missing") for line in said)
    assert "f.yaml:12: name: a stands in line 6 already" in said


def test_a_file_has_a_bounded_number_of_fleets() -> None:
    with pytest.raises(FleetFileError, match=f"here may stand at most {MAX_FLEETS} fleets"):
        parse_fleets("---\n".join(["name: a\n"] * (MAX_FLEETS + 1)), "f.yaml")
