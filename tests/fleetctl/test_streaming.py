"""A long list is one document, though it is written part by part."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fleetctl.tables.streaming import DocumentStream, JsonStream, YamlStream

# What a row may say, and what would be taken for the end of one if it were not escaped.
TEXTS = st.text(max_size=20) | st.sampled_from(['}, {"name": ', "}, {", "- x: 1", "a\nb", "~"])
ROWS: st.SearchStrategy[list[dict[str, Any]]] = st.lists(
    st.builds(
        dict,
        name=TEXTS,
        index=st.integers(0, 9),
        host=st.none() | TEXTS,
        addresses=st.lists(TEXTS, max_size=2),
    ),
    min_size=1,
    max_size=3,
)


def written(stream: DocumentStream, parts: list[list[dict[str, Any]]]) -> str:
    texts = [stream.begin({"fleet": "spv"}, "vms"), *map(stream.rows, parts)]
    return "\n".join([*texts, stream.end({"matching": 7, "next_cursor": ""})])


def document(parts: list[list[dict[str, Any]]]) -> dict[str, Any]:
    rows = [row for part in parts for row in part]
    return {"fleet": "spv", "vms": rows, "matching": 7, "next_cursor": ""}


@given(st.lists(ROWS, max_size=3))
def test_parts_of_a_list_make_one_json_object_with_a_row_a_line(
    parts: list[list[dict[str, Any]]],
) -> None:
    text = written(JsonStream(), parts)
    assert json.loads(text) == document(parts)
    assert len(text.splitlines()) == 6 + sum(map(len, parts))


@pytest.mark.parametrize("parts", [[], [[{"name": "a", "host": None, "addresses": []}]] * 3])
def test_parts_of_a_list_make_one_yaml_document(parts: list[list[dict[str, Any]]]) -> None:
    assert yaml.safe_load(written(YamlStream(), parts)) == document(parts)
