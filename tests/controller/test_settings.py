"""The controller's command line: read strictly."""

from __future__ import annotations

import pytest

from fleet_controller.core.host_loss.loss import LossSettings
from fleet_controller.core.host_loss.quarantine import QuarantineSettings
from fleet_controller.settings import MetricsSettings, parse


def test_without_options_the_defaults_hold() -> None:
    parsed = parse(["--identity", "x"])
    assert (parsed.loss, parsed.quarantine) == (LossSettings(), QuarantineSettings())


def test_each_option_sets_what_it_names() -> None:
    parsed = parse(
        "--identity x --lost-after 90 --replace-per-minute 0 --rack-label row "
        "--breaker-rack-share 0.25 --breaker-fleet-share 1 --breaker-window 60 "
        "--quarantine-vms 5 --quarantine-share 0.75 --quarantine-after 30".split()
    )
    assert parsed.loss == LossSettings(90, 0, "row", 0.25, 1, 60)
    assert parsed.quarantine == QuarantineSettings(5, 0.75, 30)


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--lost-after", "x", "'x' is not a number of at least 0"),
        ("--lost-after", "-1", "'-1' is not a number of at least 0"),
        ("--replace-per-minute", "inf", "'inf' is not a number of at least 0"),
        ("--breaker-rack-share", "1.01", "'1.01' is not a share from 0 to 1"),
        ("--breaker-fleet-share", "nan", "'nan' is not a share from 0 to 1"),
        ("--quarantine-vms", "-5", "--quarantine-vms is 0 or more"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_a_sentence(
    option: str, value: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(["--identity", "x", f"{option}={value}"])
    assert ended.value.code == 2
    assert says in capsys.readouterr().err


def test_metrics_are_on_loopback_unless_something_else_is_said() -> None:
    assert parse(["--identity", "x"]).metrics == MetricsSettings("127.0.0.1:7442", 7443, False)
    given = ["--identity", "x", "--metrics-listen", "", "--agents-metrics-port", "99"]
    assert parse([*given, "--metrics-each-host"]).metrics == MetricsSettings("", 99, True)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--metrics-listen", "7442"], "--metrics-listen: '7442' is not HOST:PORT"),
        (["--agents-metrics-port", "0"], "'0' is not a port from 1 to 65535"),
    ],
)
def test_a_wrong_metrics_setting_is_refused(
    options: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse(["--identity", "x", *options])
    assert why in capsys.readouterr().err
