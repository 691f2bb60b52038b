"""The audit trail: written with each change, bounded, and read by pages."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from fleet.v1 import types_pb2 as types
from fleet_controller.core.audit import BY_LEADER, MAX_TEXT, name_of
from fleet_controller.core.refusals import Refused
from fleet_controller.mirror.audit import Audit
from fleet_controller.mirror.audit_trail import KEPT, SLACK, AuditTrail
from fleet_controller.mirror.state import ClusterState
from fleet_controller.replica.leader import Leader
from fleet_controller.store import keys
from fleet_controller.store.memory import MemoryStore
from fleet_controller.store.port import Delete, Put
from tests.doubles.faulty_store import Fault, FaultyStore
from tests.doubles.leading import leading, until
from tests.doubles.obedient_agents import Network, ObedientAgent, World
from tests.virtual_loop import virtual

ME = "operator/me"
SPEC = types.FleetSpec(memory_bytes=4 << 20, vcpus=1)


def trail() -> tuple[Audit, ClusterState]:
    state = ClusterState()
    return Audit(state.audit, lambda: 1000.0), state


def told(leading: Leader, fleet: str = "", host: str = "") -> list[tuple[str, str, str, str]]:
    """(action, actor, before, after), the oldest first."""
    records, _ = leading.memory.state.audit.page(fleet, host, 0, 1000)
    return [(one.action, one.actor, one.before, one.after) for one in reversed(records)]


def test_keys_of_records_sort_as_they_were_made() -> None:
    assert sorted(map(name_of, (1, 9, 10, 100_000))) == list(map(name_of, (1, 9, 10, 100_000)))


def test_two_records_of_one_transaction_have_two_ids() -> None:
    audit, state = trail()
    state.written([audit.entry("declare_lost", BY_LEADER, host=f"h{n}") for n in range(3)], 5)
    records, _ = state.audit.page("", "", 0, 10)
    assert [(one.id, one.host) for one in records] == [(3, "h2"), (2, "h1"), (1, "h0")]


def test_a_text_of_any_length_fits_a_record() -> None:
    audit, state = trail()
    state.written([audit.entry("scale", ME, after="x" * 10_000)], 5)
    assert len(state.audit.page("", "", 0, 1)[0][0].after) == MAX_TEXT


def test_records_are_read_by_pages_of_those_that_are_asked_for() -> None:
    audit, state = trail()
    for number in range(7):
        fleet = "red" if number % 2 else "blue"
        state.written([audit.entry("scale", ME, fleet=fleet, after=str(number))], number + 2)
    page, following = state.audit.page("blue", "", 0, 3)
    assert [one.after for one in page] == ["6", "4", "2"]
    page, following = state.audit.page("blue", "", following, 3)
    assert ([one.after for one in page], following) == (["0"], 0)


def test_the_oldest_go_together_and_do_not_come_back() -> None:
    audit, state = trail()
    first = audit.entry("scale", ME)
    state.written([first], 2)
    for number in range(KEPT + SLACK - 2):
        state.written([audit.entry("scale", ME)], number + 3)
        assert not audit.trimming()
    state.written([audit.entry("scale", ME)], KEPT + SLACK + 2)
    trimming = audit.trimming()
    assert (len(trimming), trimming[0]) == (SLACK, Delete(first.key))
    state.written(trimming, KEPT + SLACK + 3)
    assert (len(state.audit), audit.trimming()) == (KEPT, [])
    state.apply(first.key, first.value, 2)  # the watch is late
    assert len(state.audit) == KEPT and not state.mod_revision(first.key)


def test_a_record_that_nobody_understands_is_shown_as_such() -> None:
    audit, state = trail()
    state.written([Put(keys.audit(name_of(4)), b"{"), audit.entry("scale", ME)], 3)
    assert [one.action for one in state.audit.page("", "", 0, 9)[0]] == ["unreadable", "scale"]


def test_a_key_that_is_no_record_is_left_alone() -> None:
    found = AuditTrail()
    state = ClusterState()
    state.written([Put("audit/notes", b"mine")], 2)
    assert (len(state.audit), len(found)) == (0, 0)


async def one_host(chief: Leader, network: Network) -> None:
    network.agents["h1:1"] = ObedientAgent("h1", World(), Random(1))
    facts = types.HostFacts(incarnation="i", capacity=types.Capacity(guests=9))
    await chief.announcements.announce("h1", "h1:1", facts)


@virtual
async def test_each_accepted_change_is_told_with_who_and_what() -> None:
    store = MemoryStore(asyncio.get_running_loop().time)
    network = Network()
    async with leading(store, network) as chief:
        await one_host(chief, network)
        await chief.fleets.apply("spv", SPEC, ME)
        await chief.fleets.apply("spv", SPEC, ME)  # changes nothing
        await chief.fleets.scale("spv", 5, "operator/you")
        with pytest.raises(Refused):
            await chief.fleets.scale("spv", 500, ME)
        await chief.hosts.cordon("h1", True, ME)
        await chief.hosts.cordon("h1", True, ME)
        await chief.fleets.delete("spv", ME)
        await until(lambda: not chief.memory.state.fleets)
        assert told(chief) == [
            ("apply", ME, "", "generation 1"),
            ("scale", "operator/you", "0", "5"),
            ("cordon", ME, "", ""),
            ("delete", ME, "5", "0"),
            ("fleet_deleted", BY_LEADER, "", ""),
        ]
        assert told(chief, host="h1") == [("cordon", ME, "", "")]
    async with leading(store, network) as successor:
        assert len(told(successor)) == 5, "it outlives its leader"


@virtual
async def test_a_change_and_its_line_stand_or_fall_together() -> None:
    store = FaultyStore(MemoryStore(asyncio.get_running_loop().time))
    async with leading(store, Network()) as chief:
        await chief.fleets.apply("spv", SPEC, ME)
        for fault in (Fault.ANSWER_LOST, Fault.REQUEST_LOST, Fault.REFUSED):
            store.faults = [fault]
            try:
                await chief.fleets.scale("spv", 3, fault.name, partial=True)
            except Exception:
                assert fault is not Fault.ANSWER_LOST
        lines = [actor for action, actor, _, _ in told(chief) if action == "scale"]
        assert lines == ["ANSWER_LOST"]
        keyed = {entry.key: entry.mod_revision for entry in (await store.read()).entries}
        (line,) = [key for key in keyed if key == keys.audit(name_of(2))]
        assert keyed[line] == keyed[keys.fleet("spv")], "of one transaction"


@virtual
async def test_the_loop_takes_away_what_need_not_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleet_controller.mirror.audit_trail.KEPT", 5)
    monkeypatch.setattr("fleet_controller.mirror.audit_trail.SLACK", 3)
    store = MemoryStore(asyncio.get_running_loop().time)
    network = Network()
    async with leading(store, network) as chief:
        await one_host(chief, network)
        for number in range(20):
            await chief.hosts.cordon("h1", number % 2 == 0, ME)
        await until(lambda: len(chief.memory.state.audit) < 8)
        kept = [entry.key for entry in (await store.read(keys.AUDIT)).entries]
        assert len(kept) == len(chief.memory.state.audit) and kept[-1].endswith("20")
