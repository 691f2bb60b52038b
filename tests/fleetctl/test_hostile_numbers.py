"""Numbers that hosts make up, in what fleetctl shows: no traceback, no JSON that nobody reads."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from fleet.v1 import agent_pb2 as agent
from fleet.v1 import cluster_pb2 as cluster
from fleetctl.views.cluster.status import status_json, status_text
from fleetctl.views.hosts.hosts import detail_json, detail_text
from fleetctl.views.hosts.images import list_json, show_text
from fleetctl.views.vms.top import top_json, top_text
from megafleet.connection.plain_texts import plain
from tests.doubles.filled_messages import answers, filled

NONE = (math.nan, math.inf, -math.inf)
MOST = {
    FieldDescriptor.TYPE_UINT64: 2**64 - 1,
    FieldDescriptor.TYPE_UINT32: 2**32 - 1,
    FieldDescriptor.TYPE_INT64: 2**63 - 1,
}


def fractions(message: Message) -> list[float]:
    found: list[float] = []
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_DOUBLE:
            found.append(value)
        elif isinstance(value, Message):
            found += fractions(value)
        elif field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for one in value:
                found += fractions(one)
    return found


def with_numbers(message: Any, fraction: float) -> Any:
    """All its numbers as large as they can be, and fractions this."""
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.type == FieldDescriptor.TYPE_DOUBLE:
            setattr(message, field.name, fraction)
        elif field.type in MOST and isinstance(value, int):
            setattr(message, field.name, MOST[field.type])
        elif isinstance(value, Message):
            if message.HasField(field.name):
                with_numbers(value, fraction)
        elif field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for one in value:
                with_numbers(one, fraction)
    return message


@pytest.mark.parametrize("texts", [True, False])
@pytest.mark.parametrize("fraction", NONE)
@pytest.mark.parametrize("answer", answers().values(), ids=answers())
def test_no_fraction_of_an_answer_is_none(answer: Descriptor, fraction: float, texts: bool) -> None:
    said = with_numbers(filled(answer, "x"), fraction)
    assert all(map(math.isfinite, fractions(plain(said, texts=texts))))


SHOWN: dict[str, tuple[Descriptor, Callable[[Any], str], Callable[[Any], object]]] = {
    "status": (cluster.StatusResponse.DESCRIPTOR, status_text, status_json),
    "host": (cluster.HostDetail.DESCRIPTOR, detail_text, detail_json),
    "top": (cluster.ClusterTopSample.DESCRIPTOR, top_text, top_json),
    "image": (
        cluster.HostImages.DESCRIPTOR, lambda one: show_text([one]), lambda one: list_json([one])
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", SHOWN)
@pytest.mark.parametrize("fraction", [*NONE, 1e300, -1e300])
def test_what_hosts_say_is_shown_whatever_the_numbers(what: str, fraction: float) -> None:
    kind, as_text, as_json = SHOWN[what]
    said = plain(with_numbers(filled(kind, "x"), fraction))
    assert as_text(said)
    assert json.dumps(as_json(said), allow_nan=False)


def test_sums_of_all_hosts_have_room_for_what_two_make_up() -> None:
    usage = agent.Usage(memory_bytes=2**64 - 1, vcpus=2**32 - 1, cpu_percent=1.0)
    host = cluster.HostTop(host="h", sample=agent.HostSample(usage=usage, vms=2**32 - 1))
    sample = cluster.ClusterTopSample(hosts=[host, host])
    assert top_json(sample)["total"]["memory_bytes"] == 2**64 - 1
    assert top_json(sample)["total"]["cpu_percent"] == 2.0
    assert "2 hosts" in top_text(sample)
