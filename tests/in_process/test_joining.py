"""Machines that join by tokens, under the real leader, in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from pathlib import Path

import pytest
from msgspec.structs import replace

from fleet.certificates.certificate import read_certificate
from fleet.certificates.signing_request import new_key
from fleet.peers import holder_of
from fleet.transport import Peer, Role
from fleet.v1 import types_pb2 as types
from fleet_controller.core.refusals import Reason, Refused
from fleet_controller.election.election import LeadershipLost
from fleet_controller.leader.environment import JoiningEnvironment, LeaderSettings
from fleet_controller.mirror.records import put_token
from fleet_controller.replica.leader import Leader
from fleet_controller.store.memory import MemoryStore
from fleet_controller.store.port import StoreError
from tests.doubles.faulty_store import Fault, FaultyStore
from tests.doubles.joining_hosts import issuer_in, join_request, token_request
from tests.doubles.leading import leading, until
from tests.doubles.obedient_agents import Network
from tests.in_process.joining_machines import FROM, joins, outcome, scenes
from tests.in_process.six_hosts import ME, Stage, kinds, play, told
from tests.virtual_loop import run_virtual


def test_a_host_gets_its_certificate_controllers_labels_and_settings(tmp_path: Path) -> None:
    async def scene(leader: Leader) -> None:
        await leader.tokens.create(token_request(labels={"rack": "r1"}), ME)
        answer = await joins(leader, "dom0-1")
        own = read_certificate(answer.certificates)
        assert str(holder_of(own)) == "agent/dom0-1"
        days = (own.not_after - own.not_before).total_seconds() / 86_400
        assert 14 <= days < 14.1
        assert list(answer.controllers) == ["c1:7440"] and dict(answer.labels) == {"rack": "r1"}
        assert answer.settings == "guests = 40"
        by = "token abcd2345, made by operator/me"
        assert told(leader) == [
            ("token", ME, "abcd2345, 1 use, rack=r1"),
            ("join", by, "use 1 of 1, from 10.0.0.7"),
        ]
        assert kinds(leader)["host_joined"] == 1

    scenes(tmp_path, scene)


def test_a_token_used_once_more_than_allowed_loses_however_many_come_at_once(
    tmp_path: Path,
) -> None:
    async def scene(leader: Leader) -> None:
        await leader.tokens.create(token_request(uses=50), ME)
        found = await asyncio.gather(
            *(outcome(leader, f"h{number}", address=f"10.0.{number}.1") for number in range(60))
        )
        assert Counter(found) == {"": 50, Reason.BAD_TOKEN: 10}
        assert leader.memory.state.tokens["abcd2345"].uses == 50
        assert len(leader.memory.state.joined) == 50

    scenes(tmp_path, scene)


def test_a_use_that_another_has_counted_meanwhile_is_seen(tmp_path: Path) -> None:
    """As by a controller that led and does not know yet that it leads no more."""

    async def whole() -> None:
        store = FaultyStore(MemoryStore(asyncio.get_running_loop().time))
        around = JoiningEnvironment(issuer_in(tmp_path))
        async with leading(store, Network(), joining=around) as leader:
            await leader.tokens.create(token_request(), ME)
            used = replace(leader.memory.state.tokens["abcd2345"], uses=1)
            joining_now = asyncio.create_task(outcome(leader, "h1"))
            await store.txn([], [put_token(used)])
            assert await joining_now == Reason.BAD_TOKEN

    run_virtual(whole())


def test_who_was_admitted_and_not_answered_asks_again_without_another_use(tmp_path: Path) -> None:
    key = new_key()

    async def killed_after_the_write(leader: Leader) -> None:
        await leader.tokens.create(token_request(), ME)
        await joins(leader, "h1", key)  # its answer is lost with the leader

    async def asks_the_next(leader: Leader) -> None:
        answer = await joins(leader, "h1", key)
        assert answer.certificates
        assert leader.memory.state.tokens["abcd2345"].uses == 1
        assert await outcome(leader, "h1") == Reason.BAD_TOKEN, "another key is another machine"

    scenes(tmp_path, killed_after_the_write, asks_the_next)


@pytest.mark.parametrize("secret", [b"", b"wrong" * 4])
def test_a_wrong_secret_is_no_token(tmp_path: Path, secret: bytes) -> None:
    async def scene(leader: Leader) -> None:
        await leader.tokens.create(token_request(), ME)
        request = join_request("h1", leader.memory.events.now(), secret=secret)
        with pytest.raises(Refused, match="there is no such token"):
            await leader.joins.join(request, FROM)

    scenes(tmp_path, scene)


def test_a_token_that_is_revoked_or_has_expired_admits_nobody(tmp_path: Path) -> None:
    async def scene(leader: Leader) -> None:
        await leader.tokens.create(token_request(ttl=60.0), ME)
        await leader.tokens.create(token_request("bbbb2345"), ME)
        await leader.tokens.revoke("bbbb2345", ME)
        await asyncio.sleep(61)
        assert await outcome(leader, "h1") == Reason.BAD_TOKEN
        with pytest.raises(Refused, match="no such token"):
            await joins(leader, "h1", token_id="bbbb2345")
        with pytest.raises(Refused, match="there is no token 'bbbb2345'"):
            await leader.tokens.revoke("bbbb2345", ME)

    scenes(tmp_path, scene)


def test_an_address_of_which_too_much_is_refused_is_heard_seldom(tmp_path: Path) -> None:
    async def scene(leader: Leader) -> None:
        await leader.tokens.create(token_request(uses=5), ME)
        for _ in range(20):
            with pytest.raises(Refused, match="no such token"):
                await joins(leader, "h1", secret=b"x" * 20)
        assert await outcome(leader, "h1") == Reason.TOO_MANY_JOINS
        assert await outcome(leader, "h1", address="10.0.0.8") == ""
        await asyncio.sleep(3)
        assert await outcome(leader, "h2") == ""

    scenes(tmp_path, scene)


def test_who_asks_again_is_no_news_and_is_answered_so_often_and_no_more(tmp_path: Path) -> None:
    async def scene(leader: Leader) -> None:
        key = new_key()
        await leader.tokens.create(token_request(uses=5), ME)
        found = [await outcome(leader, "h1", key) for _ in range(30)]
        assert Counter(found) == {"": 11, Reason.TOO_MANY_JOINS: 19}
        assert kinds(leader)["host_joined"] == 1
        assert await outcome(leader, "h2", address="10.0.0.8") == "", "others are answered"

    scenes(tmp_path, scene)


def test_whoever_has_a_whole_network_of_ipv6_is_one_caller(tmp_path: Path) -> None:
    async def scene(leader: Leader) -> None:
        await leader.tokens.create(token_request(uses=5), ME)
        for number in range(20):
            with pytest.raises(Refused, match="no such token"):
                await joins(leader, "h1", secret=b"x" * 20, address=f"2001:db8::{number:x}")
        assert await outcome(leader, "h1", address="2001:db8::ffff") == Reason.TOO_MANY_JOINS
        assert await outcome(leader, "h1", address="2001:db8:0:1::1") == ""

    scenes(tmp_path, scene)


def test_a_token_that_makes_no_sense_keeps_nobody_else_from_joining(tmp_path: Path) -> None:
    """As somebody wrote it into the store; all come in one batch."""

    async def scene(leader: Leader) -> None:
        await leader.tokens.create(token_request("aaaa2345", uses=9), ME)
        await leader.tokens.create(token_request("bbbb2345", uses=9), ME)
        await leader.tokens.create(token_request("cccc2345", uses=9), ME)
        tokens = leader.memory.state.tokens
        tokens["bbbb2345"] = replace(tokens["bbbb2345"], networks=("nonsense",))
        tokens["cccc2345"] = replace(tokens["cccc2345"], expires=-1e300)

        async def by(token_id: str, host: str) -> str:
            try:
                await joins(leader, host, token_id=token_id)
            except Refused as refused:
                return refused.reason
            return ""

        tokens_of_hosts = ["aaaa2345", "bbbb2345", "cccc2345", "aaaa2345"]
        found = await asyncio.gather(*(by(one, f"h{n}") for n, one in enumerate(tokens_of_hosts)))
        assert found == ["", Reason.BAD_TOKEN, Reason.BAD_TOKEN, ""]

    scenes(tmp_path, scene)


def test_an_error_of_ours_about_one_machine_is_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(leader: Leader) -> None:
        check = leader.joins._check_name

        def broken(host: str, *, taken: bool) -> None:
            if host == "h1":
                raise ZeroDivisionError
            check(host, taken=taken)

        monkeypatch.setattr(leader.joins, "_check_name", broken)
        await leader.tokens.create(token_request(uses=9), ME)
        found = await asyncio.gather(
            *(outcome(leader, host) for host in ("h1", "h2", "h3")), return_exceptions=True
        )
        assert isinstance(found[0], ZeroDivisionError) and found[1:] == ["", ""]

    scenes(tmp_path, scene)


def test_who_joins_when_the_leadership_is_over_is_told_to_ask_another(tmp_path: Path) -> None:
    seen: list[Leader] = []

    async def scene(leader: Leader) -> None:
        await leader.tokens.create(token_request(), ME)
        seen.append(leader)

    async def later(leader: Leader) -> None:
        with pytest.raises(LeadershipLost, match="leads no longer"):
            await joins(seen[0], "h1")

    scenes(tmp_path, scene, later)


def test_a_token_of_somebody_who_is_denied_admits_nobody(tmp_path: Path) -> None:
    async def scene(leader: Leader) -> None:
        await leader.tokens.create(token_request(uses=9), "operator/mallory via controller/c2")
        assert await outcome(leader, "h1") == ""
        await leader.denials.deny(
            Peer(Role.OPERATOR, "mallory"), "stolen", ME, Peer(Role.OPERATOR, "me")
        )
        with pytest.raises(Refused, match="was made by operator/mallory, who is denied"):
            await joins(leader, "h2")

    scenes(tmp_path, scene)


def test_a_known_name_that_joins_with_another_key_is_told_so(tmp_path: Path) -> None:
    async def scene(leader: Leader) -> None:
        await leader.tokens.create(token_request(uses=9), ME)
        await joins(leader, "h9")
        await leader.announcements.announce("h9", "h9:1", types.HostFacts())
        await until(lambda: not leader.memory.settling)
        await joins(leader, "h9")
        messages = [
            event.message
            for event in leader.memory.events.after(0, 99, "", "h9")[0]
            if event.kind == "host_joined"
        ]
        assert [", with another key" in one for one in messages] == [False, True]

    scenes(tmp_path, scene)


def test_the_name_of_a_live_host_is_taken_and_that_of_an_expelled_one_denied(
    tmp_path: Path,
) -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        await leader.tokens.create(token_request(uses=9), ME)
        assert await outcome(leader, "h0") == Reason.HOST_LIVE
        await leader.denials.expel("h1", "it lies", ME)
        assert await outcome(leader, "h1") == Reason.HOST_EXPELLED

    play(scene, joining=JoiningEnvironment(issuer_in(tmp_path)))


def test_two_machines_that_claim_one_name_at_once_are_not_both_admitted(tmp_path: Path) -> None:
    async def scene(leader: Leader) -> None:
        await leader.tokens.create(token_request(uses=9), ME)
        found = await asyncio.gather(*(outcome(leader, "h1") for _ in range(3)))
        assert sorted(found) == ["", Reason.HOST_LIVE, Reason.HOST_LIVE]

    scenes(tmp_path, scene)


def test_a_clock_that_is_a_year_off_is_told(tmp_path: Path) -> None:
    async def scene(leader: Leader) -> None:
        await leader.tokens.create(token_request(), ME)
        request = join_request("h1", leader.memory.events.now() - 365 * 86_400)
        with pytest.raises(Refused, match=r"the clock of h1 says .*: set the host's clock"):
            await leader.joins.join(request, FROM)

    scenes(tmp_path, scene)


def test_hosts_of_a_token_that_approves_need_no_approval(tmp_path: Path) -> None:
    async def scene(leader: Leader) -> None:
        await leader.tokens.create(token_request("aaaa2345", approve=True), ME)
        await leader.tokens.create(token_request("bbbb2345"), ME)
        await joins(leader, "h1", token_id="aaaa2345")
        await joins(leader, "h2", token_id="bbbb2345")
        for host in ("h1", "h2"):
            await leader.announcements.announce(host, f"{host}:1", types.HostFacts())
        assert leader.memory.state.awaiting_approval == {"h2"}
        await leader.hosts.remove("h1", False, ME)
        assert "h1" not in leader.memory.state.joined

    scenes(tmp_path, scene, settings=LeaderSettings(settle=5.0, approve_hosts=True))


def test_a_token_whose_record_cannot_be_read_admits_nobody_and_nothing_else_is_touched(
    tmp_path: Path,
) -> None:
    async def scene(leader: Leader) -> None:
        await leader.tokens.create(token_request("aaaa2345", uses=5), ME)
        await leader.tokens.create(token_request("bbbb2345", uses=5), ME)
        leader.memory.state.apply("tokens/aaaa2345", b"{rubbish", leader.memory.state.revision + 1)
        with pytest.raises(Refused, match="no such token"):
            await joins(leader, "h1", token_id="aaaa2345")
        await joins(leader, "h1", token_id="bbbb2345")
        assert "tokens/aaaa2345" in leader.memory.state.broken

    scenes(tmp_path, scene)


def test_while_changes_are_frozen_nobody_joins(tmp_path: Path) -> None:
    async def scene(leader: Leader) -> None:
        await leader.tokens.create(token_request(), ME)
        await leader.recovery.begin("a test", ME)

    async def frozen(leader: Leader) -> None:
        with pytest.raises(Exception, match="changes are frozen"):
            await joins(leader, "h1")

    scenes(tmp_path, scene, frozen)


@pytest.mark.parametrize("fault", [Fault.ANSWER_LOST, Fault.REQUEST_LOST])
def test_where_the_outcome_of_the_write_is_unknown_the_host_asks_again(
    tmp_path: Path, fault: Fault
) -> None:
    key = new_key()

    async def whole() -> None:
        store = FaultyStore(MemoryStore(asyncio.get_running_loop().time))
        around = JoiningEnvironment(issuer_in(tmp_path))
        async with leading(store, Network(), joining=around) as leader:
            await leader.tokens.create(token_request(), ME)
            store.faults = [fault]
            with contextlib.suppress(StoreError):
                await joins(leader, "h1", key)
            assert (await joins(leader, "h1", key)).certificates
            assert leader.memory.state.tokens["abcd2345"].uses == 1

    run_virtual(whole())


def test_without_an_issuing_key_it_is_said_what_is_missing() -> None:
    async def whole() -> None:
        store = MemoryStore(asyncio.get_running_loop().time)
        async with leading(store, Network()) as leader:
            await leader.tokens.create(token_request(), ME)
            with pytest.raises(Refused, match="no issuing key: make one with"):
                await joins(leader, "h1")
            await until(lambda: leader.renewals.trust is None)

    run_virtual(whole())
