"""Definitions: whose they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.identity import MAX_INDEX
from fleet.keys import Kin
from fleet.ranges import IndexSet
from fleet.v1 import types_pb2 as types
from fleet_agent.core.domain.domain_mark import (
    ReadySeen,
    parse_mark,
    parse_ready,
    parsed,
    ready_xml,
)
from fleet_agent.core.domain.marks import FIELDS, Marked, mark_fields, read_mark
from fleet_agent.core.model import Batch, Mark
from tests.agent.domain_xml.asked_domains import (
    FLEET,
    KIN,
    MARK,
    definition,
)


class TestMarks:
    def test_a_definition_carries_its_mark(self) -> None:
        assert parse_mark(definition()) == Marked(KIN, 250, MARK)

    @pytest.mark.parametrize(
        "metadata",
        [
            "",
            "<metadata/>",
            '<metadata><vm uid="u" index="1" generation="1" birth="1" term="1:1" epoch="1:1"/>'
            "</metadata>",
            '<metadata><f:vm xmlns:f="urn:megafleet:vm:1" index="1"/></metadata>',
            '<metadata><f:vm xmlns:f="urn:megafleet:vm:1" uid="u" index="-1" generation="1" '
            'birth="1" term="1:1" epoch="1:1"/></metadata>',
        ],
    )
    def test_what_is_not_whole_is_no_mark(self, metadata: str) -> None:
        assert parse_mark(parsed(f"<domain>{metadata}</domain>")) is None

    @given(
        st.builds(
            Marked,
            st.builds(Kin, st.uuids().map(str), st.integers(0, 2**32 - 1), st.integers(0, 2**63)),
            st.integers(0, MAX_INDEX),
            st.builds(Mark, *[st.tuples(st.integers(0, 2**63), st.integers(0, 2**63))] * 2),
        )
    )
    def test_fields_say_the_mark(self, marked: Marked) -> None:
        one = Batch(FLEET, marked.kin, types.FleetSpec(), marked.mark, IndexSet.of([marked.index]))
        fields = mark_fields(one, marked.index)
        assert tuple(fields) == FIELDS
        assert read_mark(fields | {"other": "x"}) == marked
        assert marked.is_of(one, marked.index)

    def test_readiness_says_whose_life_it_was(self) -> None:
        seen = ReadySeen("boot-1", 7, 1234, 5678)
        # As virDomainSetMetadata adds it: the namespace is libvirt's part.
        element = ready_xml(seen).replace("<ready ", '<r:ready xmlns:r="urn:megafleet:ready:1" ')
        domain = parsed(f"<domain><metadata>{element}</metadata></domain>")
        assert parse_ready(domain) == seen
        assert parse_ready(parsed("<domain><metadata/></domain>")) is None
