"""The agent's settings: what a mistake says, and who wins."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fleet.transport import Role
from fleet_agent.daemon.host_identity import HostError, address_towards, host_id_of
from fleet_agent.daemon.settings import BadSettings, Settings, load
from fleetctl.local.certificate_authority import Authority
from tests.certificates import identity

ENDPOINT = 'endpoints = ["c:7440"]\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "agent.toml"


def test_endpoints_are_enough(file: Path) -> None:
    file.write_text(ENDPOINT)
    settings = load(["--config", str(file)])
    assert settings.endpoints == ("c:7440",)
    assert (settings.guests, settings.storage.kind) == (250, "auto")


def test_labels_that_fleet_files_could_not_name_are_refused_in_one_sentence(file: Path) -> None:
    file.write_text(ENDPOINT + 'labels = { Rack = "R 01", "topology.kubernetes.io/zone" = "a" }\n')
    with pytest.raises(BadSettings, match=r"^label 'Rack': a value is .*; got 'R 01'$"):
        load(["--config", str(file)])
    file.write_text(ENDPOINT + 'labels = { Rack = "R01", "topology.kubernetes.io/zone" = "a" }\n')
    assert load(["--config", str(file)]).labels["topology.kubernetes.io/zone"] == "a"


def test_flags_win_over_the_file(file: Path) -> None:
    file.write_text(ENDPOINT + 'guests = 10\nlabels = { rack = "r1", zone = "z" }\n')
    flags = ["--guests", "20", "--label", "rack=r2", "--storage", "reflink:/srv/fleet"]
    settings = load(["--config", str(file), *flags])
    assert settings.guests == 20
    assert settings.labels == {"rack": "r2", "zone": "z"}
    assert (settings.storage.kind, settings.storage.parent) == ("reflink", "/srv/fleet")


@pytest.mark.parametrize(
    ("text", "flags", "sentence"),
    [
        ("guests = 0", [], r"agent.toml: Expected `int` >= 1 - at `\$.guests`"),
        ("gests = 1", [], "agent.toml: Object contains unknown field `gests`"),
        ("[storage]\nkind = 'nfs'", [], r"Invalid enum value 'nfs' - at `\$.storage.kind`"),
        ("[timing]\naudit = 0", [], r"at `\$.timing.audit`"),
        ("guests = ", [], "agent.toml: "),
        ("listen = 'nowhere'", [], "'nowhere' is not HOST:PORT"),
        ("", ["--endpoints", "c"], "'c' is not HOST:PORT"),
        ("", ["--storage", "tank"], "--storage 'tank' is not KIND:PARENT"),
        ("", ["--label", "rack"], "--label 'rack' is not KEY=VALUE"),
        ("", ["--guests", "0"], "with the flags given: Expected `int` >= 1"),
    ],
)
def test_a_mistake_says_where(file: Path, text: str, flags: list[str], sentence: str) -> None:
    file.write_text(ENDPOINT + text)
    with pytest.raises(BadSettings, match=sentence):
        load(["--config", str(file), *flags])


def test_without_controllers_it_says_what_to_set(file: Path) -> None:
    file.write_text("")
    with pytest.raises(BadSettings, match="no controllers: set endpoints"):
        load(["--config", str(file)])


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match=r"missing\.toml cannot be read: No such file"):
        load(["--config", str(tmp_path / "missing.toml")])


@pytest.mark.parametrize("name", ["dom0-1", "r1.dom0-17", "a" * 63])
def test_a_host_is_what_its_certificate_names(name: str) -> None:
    assert host_id_of(identity(Role.AGENT, name).certificate) == name


def test_further_names_in_a_certificate_do_not_matter() -> None:
    more = ("dom0-1.example.org", "127.0.0.1")
    issued = Authority.create("x").issue(Role.AGENT, "dom0-1", more)
    assert host_id_of(issued.key + issued.certificate) == "dom0-1"


def test_a_certificate_of_another_role_names_no_host() -> None:
    with pytest.raises(HostError, match="names no host"):
        host_id_of(identity(Role.CONTROLLER, "c").certificate)


def test_what_is_no_certificate_is_said_so() -> None:
    with pytest.raises(HostError, match="not PEM"):
        host_id_of(b"nonsense")


def test_the_address_towards_a_controller_on_this_machine_is_the_loopback() -> None:
    assert address_towards("127.0.0.1:7440") == "127.0.0.1"


def test_no_address_leads_to_a_name_that_is_none() -> None:
    with pytest.raises(HostError, match="no address of this host leads to"):
        address_towards("no-such-host.invalid:1")


def test_the_sample_shows_every_setting_with_its_default(file: Path) -> None:
    sample = Path(__file__).parents[2] / "deploy" / "settings" / "agent.toml"
    file.write_text(re.sub(r"(?m)^# (\[\w+\]|\w+ = .+)$", r"\1", sample.read_text()))
    shown = load(["--config", str(file)])
    default = Settings(endpoints=shown.endpoints, labels=shown.labels)
    for name in Settings.__struct_fields__:
        # Their defaults, of `log` that of its `json`, cannot be shown.
        if name not in ("log", "upgrade_command"):
            assert getattr(shown, name) == getattr(default, name), name
