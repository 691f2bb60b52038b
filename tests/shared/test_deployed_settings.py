"""The sample settings and units in deploy/ are what the programs read."""

import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fleet_agent.daemon import settings as agent_settings
from fleet_controller import settings as controller_settings
from fleet_controller.store.etcd.wire import parse_endpoint
from tests.deployed_commands import command, environment

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
SETTINGS = DEPLOY / "settings"
UNITS = DEPLOY / "systemd"


def test_the_agents_sample_is_enough_to_start() -> None:
    loaded = agent_settings.load(["--config", str(SETTINGS / "agent.toml")])
    assert len(loaded.endpoints) == 3
    assert loaded == agent_settings.Settings(endpoints=loaded.endpoints)


def test_the_agents_sample_shows_every_setting_with_its_default(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(_uncommented((SETTINGS / "agent.toml").read_text()))
    loaded = agent_settings.load(["--config", str(file)])
    default = agent_settings.Settings()
    # A default that is an empty table or absent is shown with an example instead.
    shown = msgspec.structs.replace(
        loaded,
        endpoints=(),
        labels={},
        upgrade_command=None,
        log=msgspec.structs.replace(loaded.log, json=None),
    )
    assert shown == default
    assert _keys(tomllib.loads(file.read_text())) == _fields(default)


def test_the_controllers_sample_and_unit_make_a_command_line() -> None:
    sample = environment(SETTINGS / "controller.env")
    program, *arguments = command(UNITS / "fleet-controller.service", sample)
    assert program.endswith("/bin/fleet-controller")
    parsed = controller_settings.parse(arguments)
    assert parsed.listen == sample["LISTEN"]
    assert parsed.advertise == sample["ADVERTISE"]
    assert parsed.replica == sample["REPLICA"]
    assert str(parsed.joining.issuing) == "/etc/megafleet/issuing"
    assert (parsed.joining.listen, parsed.joining.advertise) == (
        "0.0.0.0:7444",
        "192.0.2.21:7444",
    )
    assert [parse_endpoint(one) for one in parsed.etcd_endpoints] == [
        "192.0.2.11:2379",
        "192.0.2.12:2379",
        "192.0.2.13:2379",
    ]
    assert parsed.etcd_prefix == "/megafleet/"
    default = controller_settings.parse(["--identity", "x"])
    assert (parsed.loss, parsed.quarantine) == (default.loss, default.quarantine)


def test_the_agents_unit_makes_a_command_line() -> None:
    program, *arguments = command(UNITS / "fleet-agent.service", {})
    assert program.endswith("/bin/fleet-agent")
    # So a host without settings of its own starts as well; else this file is read.
    assert agent_settings.parser().parse_args(arguments).config is None
    assert agent_settings.DEFAULT_FILE == Path("/etc/megafleet/agent.toml")


def test_units_start_nothing_before_the_machine_has_joined_or_been_made_a_controller() -> None:
    agent = (UNITS / "fleet-agent.service").read_text().splitlines()
    assert "ConditionPathExists=|/etc/megafleet/identity/cert.pem" in agent
    assert "ConditionKernelCommandLine=|megafleet.token" in agent
    # What renews its certificate writes it.
    assert "ReadWritePaths=-/etc/megafleet/identity" in agent
    controller = (UNITS / "fleet-controller.service").read_text().splitlines()
    assert "ConditionPathExists=/etc/megafleet/controller.env" in controller


def test_the_agents_unit_may_do_what_its_drivers_do() -> None:
    """Bridges are made with `ip`, which inherits what the unit leaves to it."""
    unit = (UNITS / "fleet-agent.service").read_text()
    left = re.findall(r"^CapabilityBoundingSet=(.*)$", unit, re.MULTILINE)
    assert {"CAP_SYS_ADMIN", "CAP_NET_ADMIN"} <= set(" ".join(left).split())


def test_etcds_sample_is_closed_to_strangers_and_bounded() -> None:
    sample = environment(SETTINGS / "etcd.env")
    assert all(name.startswith("ETCD_") for name in sample)
    for side in ("ETCD_", "ETCD_PEER_"):
        assert sample[f"{side}CLIENT_CERT_AUTH"] == "true"
        assert sample[f"{side}TRUSTED_CA_FILE"].endswith("/ca.pem")
    for name, value in sample.items():
        if name.endswith("_URLS"):
            assert all(url.startswith("https://") for url in value.split(","))
    assert int(sample["ETCD_QUOTA_BACKEND_BYTES"]) >= 1 << 30


@pytest.mark.parametrize("unit", sorted(UNITS.glob("*.service")), ids=lambda unit: str(unit.name))
def test_units_say_when_they_are_ready_and_may_open_enough_files(unit: Path) -> None:
    lines = unit.read_text().splitlines()
    assert "Type=notify" in lines
    limit = next(line for line in lines if line.startswith("LimitNOFILE="))
    assert int(limit.partition("=")[2]) >= 65536


def _uncommented(text: str) -> str:
    """With every setting and section that is commented out, and without prose."""
    setting = re.compile(r"^# ?(\[[a-z]+\]|[a-z_]+ = .*)$")
    kept = []
    for line in text.splitlines():
        found = setting.match(line)
        if found or (line and not line.startswith("#")):
            kept.append(found[1] if found else line)
    return "\n".join(kept) + "\n"


def _keys(tree: dict[str, Any], prefix: str = "") -> set[str]:
    found = set()
    for key, value in tree.items():
        if isinstance(value, dict) and key != "labels":
            found |= _keys(value, f"{prefix}{key}.")
        else:
            found.add(f"{prefix}{key}")
    return found


def _fields(settings: msgspec.Struct, prefix: str = "") -> set[str]:
    found = set()
    for name in settings.__struct_fields__:
        value = getattr(settings, name)
        if isinstance(value, msgspec.Struct):
            found |= _fields(value, f"{prefix}{name}.")
        else:
            found.add(f"{prefix}{name}")
    return found
