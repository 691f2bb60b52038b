"""Bounds of a fleet's template, as the controller checks them on the message."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.labels import label_problem
from fleet.spec import check_given, check_spec
from fleet.template.field import Kind, allowed, written, wrong_with
from fleet.template.fields import FIELDS, LISTS, NAME
from fleet.v1 import types_pb2 as types
from tests.shared.good_spec import MIB, good


def test_a_good_spec_has_nothing_wrong() -> None:
    assert check_spec(good()) == []


def test_every_field_of_the_table_is_a_field_of_the_message() -> None:
    for one in FIELDS:
        if listed := LISTS.get(one.section):
            item = listed.items(types.FleetSpec()).add()
            getattr(item, one.path.rpartition(".")[2])
        elif one.message_path:
            value: object = good()
            for name in one.message_path.split("."):
                value = getattr(value, name)


def test_an_empty_spec_names_every_required_field() -> None:
    found = "\n".join(check_spec(types.FleetSpec()))
    for required in ("image.name", "image.snapshot", "memory", "boot", "vcpus", "on_loss"):
        assert re.search(rf"^{re.escape(required)}: must (be|have) ", found, re.MULTILINE), required


BAD: list[tuple[str, object, str]] = [
    ("image.name", "a/b", "image.name: must be 1 to 64"),
    ("image.name", "a..b", "image.name: '..' is not allowed"),
    ("image.name", "a@b", "image.name: must be"),
    ("image.snapshot", "1\n", "image.snapshot: must be"),
    ("image.digest", "md5:00", "image.digest: must be sha256:"),
    ("memory_bytes", 0, "memory: must be 1MiB to 1TiB, in whole MiB; got 0 bytes"),
    ("memory_bytes", MIB + 1, "memory: must be 1MiB to 1TiB, in whole MiB; got 1048577 bytes"),
    ("memory_bytes", 2**60, "memory: must be"),
    ("vcpus", 0, "vcpus: must be 1 to 128; got 0"),
    ("boot.kernel", "vmlinuz", "boot.kernel: must be an absolute path"),
    ("boot.kernel", "/boot/../etc/shadow", "boot.kernel: an absolute path without"),
    ("boot.initrd", "/boot//x", "boot.initrd: an absolute path without"),
    ("boot.cmdline", "a\x00b", "boot.cmdline: must be printable ASCII"),
    ("boot.cmdline", "{color}", "boot.cmdline: '{color}' is no placeholder"),
    ("boot.cmdline", "{name", "boot.cmdline: a brace stands alone"),
    ("boot.cmdline", "{name}" * 60, "boot.cmdline: filled in it may be"),
    ("boot.cmdline", "ip={address}", "boot.cmdline: {address} needs network.prefix"),
    ("disk.target", "../sda", "disk.target: must be"),
    ("disk.target", "xvda0", "disk.target: must be"),
    ("disk.target", "xvda16", "disk.target: must be"),
    ("boot.kernel", "", "boot: must have one of kernel, firmware and loader, and is empty"),
    ("boot.firmware", types.FIRMWARE_UEFI, "boot: must have one of kernel, firmware and loader, a"),
    ("boot.firmware", 9, "boot.firmware: must be bios or uefi"),
    ("boot.loader", 9, "boot.loader: must be pvgrub"),
    ("disk.size_bytes", 5, "disk.size: must be 1MiB to 64TiB, in whole MiB, or 0: the image's"),
    ("readiness.console_pattern", "(", "readiness.console: not a regular expression"),
    ("readiness.console_pattern", "x" * 300, "readiness.console: must be"),
    ("readiness.console_pattern", "(?=a)b", "readiness.console: not a regular expression of RE2"),
    ("readiness.console_pattern", r"(a)\1", "readiness.console: not a regular expression of RE2"),
    ("readiness.timeout_seconds", math.nan, "readiness.timeout: must be 0.1s to 86400s; got nans"),
    ("readiness.timeout_seconds", -1, "readiness.timeout: must be 0.1s to 86400s; got -1s"),
    ("admission.parallel", 0, "admission.parallel: must be 1 to 4096; got 0"),
    ("admission.per_second", math.inf, "admission.per_second: must be"),
    ("placement.policy", 0, "placement.policy: must be spread or pack"),
    ("placement.policy", 9, "placement.policy: must be spread or pack"),
    ("placement.spread_label", "a b", "placement.spread_label: must be"),
    ("on_loss", 0, "on_loss: must be replace or wait"),
    (
        "on_isolation_stop_after_seconds",
        59,
        "on_isolation.stop_after: must be 60s to 604800s, or 0: never; got 59s",
    ),
]


@pytest.mark.parametrize(("path", "value", "says"), BAD)
def test_what_is_out_of_bounds_is_named_with_what_is_allowed(
    path: str, value: object, says: str
) -> None:
    spec = good()
    *outer, last = path.split(".")
    section: object = spec
    for name in outer:
        section = getattr(section, name)
    setattr(section, last, value)
    assert [problem for problem in check_spec(spec) if problem.startswith(says)]
    assert len(check_spec(spec)) == (2 if value == 9 and section is spec.boot else 1)


def test_labels_are_bounded_in_number_and_kind() -> None:
    wrong: tuple[tuple[dict[str, str], str], ...] = (
        ({f"k{i}": "v" for i in range(33)}, "must be at most 32 labels"),
        ({"a/b/c": "d"}, "label 'a/b/c': a key is"),
        ({"a": "c\n"}, "label 'a': a value is"),
        ({"Rack": "R 01"}, "label 'Rack': a value is"),
    )
    for selector, says in wrong:
        spec = good()
        spec.placement.selector.update(selector)
        assert check_spec(spec)[0].startswith(f"placement.selector: {says}")


def test_labels_are_named_as_kubernetes_names_them() -> None:
    for key in ("Rack", "topology.kubernetes.io/zone", "a", "A_b.c-9", "x" * 63, "a/b"):
        assert label_problem(key, "R01") is None and label_problem(key, "") is None
        spec = good()
        spec.placement.spread_label = key
        spec.placement.selector[key] = "R01"
        assert check_spec(spec) == []
    for key in ("", "-a", "a-", "x" * 64, "Zone.io/a", "/a", "a/", "a//b", "a b", "ä", "a\n"):
        assert label_problem(key, "v"), key
    for value in ("R 01", "-", "a.", "x" * 64, "a/b", "ö", "a\n"):
        assert label_problem("rack", value), value


def test_readiness_needs_a_condition() -> None:
    spec = good()
    spec.readiness.domain_active = False
    assert check_spec(spec) == ["readiness: must be active: true, or a console pattern"]


@pytest.mark.parametrize(
    ("pattern", "fine"),
    [
        (r"megafleet: ready name=\S+ index=\d+", True),
        (r"login:|Welcome", True),
        (r"(\d{1,3}\.){3}\d+", True),
        (r"(ab)+", True),
        (r"[(+*]+\)+", True),
        (r"(a*)*", True),
        (r"((a+))*", True),
        (r"(?P<x>.*,)+", True),
        (r"\[\s+OK\s+\] Reached target", True),
        (r"a(?=b)", False),
        (r"(?<!a)b", False),
        (r"(a)\1", False),
        (r"(((x{900}){900}){900})", False),
    ],
)
def test_patterns_that_only_a_backtracking_engine_searches_are_refused(
    pattern: str, fine: bool
) -> None:
    console = next(one for one in FIELDS if one.path == "readiness.console")
    assert (wrong_with(console, pattern) is None) == fine


@settings(deadline=None)
@given(st.text(max_size=80))
def test_no_text_breaks_a_check_or_reaches_the_terminal_raw(text: str) -> None:
    for one in FIELDS:
        if one.kind is Kind.TEXT:
            problem = wrong_with(one, text)
            if problem and one.path not in ("boot.cmdline", "readiness.console"):
                assert problem.isprintable()


@settings(deadline=None)
@given(st.text(alphabet="ab-.@/ \n09Z", max_size=50))
def test_a_fleets_name_is_never_a_path_or_a_snapshot(name: str) -> None:
    if wrong_with(NAME, name) is None:
        assert not set(name) & set("/@. \n") and len(name) <= 40


def test_what_is_allowed_reads_well() -> None:
    said = {one.path: allowed(one) for one in FIELDS}
    assert said["memory"] == "1MiB to 1TiB, in whole MiB"
    assert said["admission.per_second"] == "0.01 to 10000, or 0: no limit"
    assert said["placement.policy"] == "spread or pack"
    memory = next(one for one in FIELDS if one.path == "memory")
    assert written(memory, 256 * MIB) == "256MiB"


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan, 1e308, -1.0])
def test_numbers_that_nobody_can_carry_out_are_named_where_a_spec_is_read(number: float) -> None:
    rate, timeout = good(), good()
    rate.admission.per_second = number
    timeout.readiness.timeout_seconds = number
    assert [text.split(":")[0] for text in check_given(rate)] == ["admission.per_second"]
    assert [text.split(":")[0] for text in check_given(timeout)] == ["readiness.timeout"]


def test_where_a_spec_is_read_nothing_is_missed_that_it_leaves_out() -> None:
    assert check_given(types.FleetSpec()) == []
    low = types.FleetSpec(on_isolation_stop_after_seconds=5)
    assert check_given(low) == []
    newer = types.FleetSpec(vcpus=1, on_loss=7)  # type: ignore[arg-type]
    assert check_given(newer) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"boot": types.Boot(firmware=types.FIRMWARE_BIOS)}, "start: clone needs boot.kernel"),
        (
            {"more_disks": [types.ExtraDisk(target="vdb", path="/dev/x", read_only=True)]},
            "one disk",
        ),
        ({"identity": types.Identity(hostname="{name}")}, "leave out identity"),
    ],
)
def test_what_a_copy_of_a_template_cannot_have_is_refused_with_the_reason(
    change: dict[str, object], says: str
) -> None:
    asks = types.FleetSpec(start=types.START_CLONE, boot=types.Boot(kernel="/boot/vmlinuz"))
    assert not [one for one in check_spec(asks) if one.startswith("start:")]
    for field in change:
        asks.ClearField(field)  # type: ignore[arg-type]
    asks.MergeFrom(types.FleetSpec(**change))  # type: ignore[arg-type]
    assert says in " ".join(one for one in check_spec(asks) if one.startswith("start:"))
