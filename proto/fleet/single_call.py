"""One call of a service, for a channel that lives for it alone.

A stub makes all calls of its service, and gRPC registers each with the channel: for the dozens that
controllers offer this takes a tenth of what the call itself takes.
"""

from __future__ import annotations

from operator import methodcaller
from typing import Any, TypeVar

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

Answer = TypeVar("Answer", bound=Message)
_serialized = methodcaller("SerializeToString")


def single_call(
    channel: grpc.aio.Channel, method: MethodDescriptor, answer: type[Answer]
) -> grpc.aio.UnaryUnaryMultiCallable[Any, Answer]:
    """As the stub's attribute of that name. `answer`: the method's output."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    return channel.unary_unary(
        path, request_serializer=_serialized, response_deserializer=answer.FromString
    )
