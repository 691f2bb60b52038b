"""Where a token comes from, and what a host keeps of what it was told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fleet_agent.daemon.joined_settings import as_kept, below, joined_settings
from fleet_agent.daemon.settings import BadSettings, load
from fleet_agent.joining.identity_folder import IdentityFolder
from fleet_agent.joining.joining import Joined
from fleet_agent.joining.token_sources import NoToken, endpoints, on_command_line, token_in
from tests.doubles.joining_hosts import a_token

TEXT = a_token().text


def test_the_kernels_command_line_names_token_controllers_and_name() -> None:
    line = f"root=/dev/xvda quiet megafleet.token={TEXT} megafleet.controllers=c1:7444,c2:7444"
    found = on_command_line(f"{line} megafleet.name=dom0-7")
    assert found is not None
    assert (found.token, found.controllers, found.name) == (
        a_token(), ("c1:7444", "c2:7444"), "dom0-7",
    )  # fmt: skip


def test_a_command_line_without_a_token_is_none() -> None:
    assert on_command_line("quiet megafleet.controllers=c1:1") is None


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (f"megafleet.token={TEXT}", "at which controllers to join is not said"),
        (f"megafleet.token={TEXT} megafleet.controllers=c1", "has no port"),
        ("megafleet.token=abc megafleet.controllers=c1:1", "this is no token"),
    ],
)
def test_half_a_command_line_is_one_sentence(line: str, said: str) -> None:
    with pytest.raises(NoToken, match=re.escape(said)):
        on_command_line(line)


def test_a_token_is_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TEXT}\n")
    assert token_in(file) == a_token()
    with pytest.raises(NoToken, match="No such file"):
        token_in(tmp_path / "none")
    file.write_bytes(b"\xff" * 100)
    with pytest.raises(NoToken, match="this is no token") as told:
        token_in(file)
    assert "\\xff" not in str(told.value)
    with pytest.raises(NoToken):
        endpoints("")


def test_a_key_is_made_once_and_nobody_else_may_read_it(tmp_path: Path) -> None:
    folder = IdentityFolder(tmp_path / "identity")
    key = folder.key()
    assert folder.key() == key
    file = tmp_path / "identity" / "key.pem"
    assert file.stat().st_mode & 0o777 == 0o600
    assert sorted(one.name for one in file.parent.iterdir()) == ["key.pem"], "nothing is left"


def test_what_a_host_was_told_stands_below_its_own_settings(tmp_path: Path) -> None:
    identity = tmp_path / "identity"
    told = 'guests = 40\nledger = "/elsewhere"\n[timing]\naudit = 7\nbatch_size = 9\n'
    told += '[labels]\nzone = "a"\n'
    joined = Joined("h1", b"", b"", ("c1:1",), {"rack": "r1", "zone": "token"}, told)
    IdentityFolder(identity).save_joined(as_kept(joined))
    own = tmp_path / "agent.toml"
    own.write_text(f'identity = "{identity}"\n[timing]\naudit = 3\n[labels]\nrack = "mine"\n')
    found = load(["--config", str(own), "--endpoints", "c1:1"])
    assert found.guests == 40 and found.timing.audit == 3 and found.timing.batch_size == 9
    assert found.labels == {"rack": "mine", "zone": "token"}
    assert found.ledger == "/var/lib/megafleet/ledger", "where things are is the host's own matter"


def test_rubbish_in_the_place_of_what_it_was_told_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "joined.json").write_bytes(b"\x00")
    assert joined_settings(tmp_path) == {}


def test_trees_are_laid_upon_one_another() -> None:
    upper = {"a": 1, "t": {"x": 1}}
    assert below(upper, {"a": 2, "b": 3, "t": {"x": 2, "y": 2}}) == {
        "a": 1, "b": 3, "t": {"x": 1, "y": 2},
    }  # fmt: skip
    assert upper == {"a": 1, "t": {"x": 1}}


def test_without_controllers_an_agent_says_how_it_gets_to_know_them(tmp_path: Path) -> None:
    flags = ["--identity", str(tmp_path), "--ledger", str(tmp_path / "ledger")]
    with pytest.raises(BadSettings, match=re.escape("or join by a token (fleet-agent join)")):
        load(flags)
    (tmp_path / "controllers.json").write_text('{"c1:7440": 1.0}')
    assert load(flags).endpoints == ()
