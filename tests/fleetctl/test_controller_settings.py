"""Settings files of a machine of the control plane, as `fleetctl cluster` writes them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from fleet.transport import Identity
from fleetctl.founding.founder import Founder
from fleetctl.founding.invitation import Invitation, read_invitation
from fleetctl.founding.machine import Machine, write_settings
from fleetctl.founding.replica import (
    Replica,
    clients_in,
    controller_text,
    etcd_text,
    is_ours,
    with_clients,
    with_members,
    written,
)
from fleetctl.local.authority_rotation import begin
from fleetctl.local.etcd_member import member_of, settings_in
from fleetctl.outcome import Failed, Misuse

SETTINGS = Path(__file__).resolve().parents[2] / "deploy" / "settings"
MACHINE = Machine()
FIRST = Replica("controller-1", "192.0.2.21")


def test_etcds_settings_are_those_of_the_sample() -> None:
    made = settings_in(etcd_text(MACHINE, FIRST, {}, "new"))
    sample = settings_in((SETTINGS / "etcd.env").read_text())
    assert set(made) == set(sample)
    same = [one for one in made if "URL" not in one and one not in ("ETCD_NAME",)]
    assert {one: made[one] for one in same if one != "ETCD_INITIAL_CLUSTER"} == {
        one: sample[one] for one in same if one != "ETCD_INITIAL_CLUSTER"
    }
    assert made["ETCD_INITIAL_CLUSTER"] == "controller-1=https://192.0.2.21:2380"


def test_the_controllers_settings_are_those_of_the_sample() -> None:
    def names(text: str) -> set[str]:
        return {one.partition("=")[0] for one in text.splitlines() if one and one[0] != "#"}

    made = controller_text(MACHINE, FIRST, ["192.0.2.21:2379"])
    assert names(made) == names((SETTINGS / "controller.env").read_text())
    assert "LISTEN=0.0.0.0:7440\n" in made
    joining = "--join-listen 0.0.0.0:7444 --join-advertise 192.0.2.21:7444"
    assert f'OPTIONS="--issuing /etc/megafleet/issuing {joining}"\n' in made


def test_the_issuing_key_is_made_once_and_its_loss_is_told_with_what_to_do(tmp_path: Path) -> None:
    founder = Founder(tmp_path)
    founder.make("alice")
    key = founder.issuing_key()
    assert not founder.make("alice")
    assert founder.issuing_key() == key
    (tmp_path / "issuing" / "issuing-key.pem").unlink()
    with pytest.raises(Failed, match="certs issuing --out"):
        founder.issuing_key()


def test_an_address_of_ipv6_is_written_in_brackets() -> None:
    one = Replica("c1", "2001:db8::1")
    assert one.peer_url == "https://[2001:db8::1]:2380"
    made = controller_text(MACHINE, one, [one.client])
    assert "LISTEN=[::]:7440\n" in made
    assert '--join-listen [::]:7444 --join-advertise [2001:db8::1]:7444"\n' in made


def test_etcd_listens_on_addresses_and_is_told_by_its_name() -> None:
    one = Replica("c1", "c1.example.org")
    made = settings_in(etcd_text(MACHINE, one, {}, "new"))
    listens = (made["ETCD_LISTEN_CLIENT_URLS"], made["ETCD_LISTEN_PEER_URLS"])
    assert listens == ("https://0.0.0.0:2379", "https://0.0.0.0:2380")
    assert made["ETCD_ADVERTISE_CLIENT_URLS"] == "https://c1.example.org:2379"
    assert made["ETCD_INITIAL_ADVERTISE_PEER_URLS"] == "https://c1.example.org:2380"
    assert made["ETCD_INITIAL_CLUSTER"] == "c1=https://c1.example.org:2380"


@pytest.mark.parametrize(
    "replica",
    [
        FIRST,
        Replica("c1", "c1.example.org", 1, 2, 3, 4),
        Replica("c1", "2001:db8::1"),
        Replica("c1", "127.0.0.1", 5),
    ],
    ids=lambda one: one.shown,
)
def test_which_one_the_settings_are_of_is_read_back(tmp_path: Path, replica: Replica) -> None:
    machine = Machine(tmp_path)
    assert written(machine) is None
    write_settings(machine.etcd_settings, etcd_text(machine, replica, {}, "new"))
    assert written(machine) is None
    write_settings(machine.controller_settings, controller_text(machine, replica, ["a:1"]))
    assert written(machine) == replica


def test_while_an_authority_is_replaced_both_are_trusted(tmp_path: Path) -> None:
    founder = Founder(tmp_path)
    founder.make("alice")
    trust = begin(founder.authority, [founder.operator], "Next", timedelta(days=1)).read_bytes()
    founder.renew()
    assert (founder.operator / "ca.pem").read_bytes() == trust
    assert founder.identities(FIRST)["controller"].ca == trust


def test_other_members_are_written_and_nothing_else_is_touched() -> None:
    text = "# mine\nREPLICA=c1\nSTORE=etcd://a:2379/other\nOPTIONS=--lost-after 60\n"
    changed = with_clients(text, ["a:2379", "b:2379"])
    assert changed == text.replace("a:2379", "a:2379,b:2379")
    assert clients_in(changed) == ["a:2379", "b:2379"]


def test_the_members_that_a_restore_makes_are_written_and_nothing_else() -> None:
    text = etcd_text(MACHINE, FIRST, {}, "new")
    all_three = {
        FIRST.name: FIRST.peer_url, "c3": "https://[::1]:2380", "c2": "https://c2.example:2380"
    }  # fmt: skip
    made, before = settings_in(with_members(text, all_three)), settings_in(text)
    assert made.pop("ETCD_INITIAL_CLUSTER") == (
        "c2=https://c2.example:2380,c3=https://[::1]:2380,controller-1=https://192.0.2.21:2380"
    )
    before.pop("ETCD_INITIAL_CLUSTER")
    assert made == before
    assert with_members(with_members(text, all_three), all_three) == with_members(text, all_three)
    with pytest.raises(Failed, match="not written into settings"):
        with_members(text, {"c1; reboot": "https://192.0.2.21:2380"})


def test_what_debian_ships_is_nobodys_and_what_names_another_folder_is_anothers() -> None:
    data = MACHINE.etcd_data
    assert is_ours("## ETCD_NAME=x\n", data)
    assert is_ours(etcd_text(MACHINE, FIRST, {}, "new"), data)
    assert not is_ours("ETCD_DATA_DIR=/srv/etcd\n", data)
    assert not is_ours("ETCD_NAME=other\n", data)


def test_an_invitation_arrives_as_it_was_sent_and_broken_ones_are_refused(tmp_path: Path) -> None:
    founder = Founder(tmp_path)
    founder.make("alice")
    sent = Invitation(
        Replica("controller-2", "192.0.2.22"),
        founder.identities(Replica("controller-2", "192.0.2.22")),
        founder.issuing_key(),
        {"controller-1": "https://192.0.2.21:2380"},
        ("192.0.2.21:2379",),
    )
    text = sent.text()
    assert read_invitation(f"  {text[:40]}\n{text[40:]}\n") == sent
    assert all(isinstance(one, Identity) for one in sent.identities.values())
    for broken in (text[:-40], text[40:], text.replace(".", ""), "", "mfc1." + "A" * 100_000):
        with pytest.raises(Misuse, match="give the whole line"):
            read_invitation(broken)


@pytest.mark.parametrize(
    ("cluster", "said"),
    [
        ("c1=https://192.0.2.9:2380", "all members are told the same"),
        ("c1=https://192.0.2.1:2380,c2=https://192.0.2.1:2380", "two members are at"),
        ("c2=https://192.0.2.2:2380", "none of the members"),
    ],
)
def test_a_backup_is_restored_only_where_members_are_what_all_are_told(
    cluster: str, said: str
) -> None:
    settings = {
        "ETCD_NAME": "c1",
        "ETCD_DATA_DIR": "/var/lib/etcd/megafleet",
        "ETCD_INITIAL_ADVERTISE_PEER_URLS": "https://192.0.2.1:2380",
        "ETCD_INITIAL_CLUSTER": cluster,
    }
    with pytest.raises(Misuse, match=said):
        member_of(settings, {}, "a file")
