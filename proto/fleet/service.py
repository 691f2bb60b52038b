"""What services share. Apart from `transport`, since clients do without grpc.aio."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import grpc
from google.protobuf.descriptor import ServiceDescriptor

from fleet.peers import NoRole
from fleet.transport import Refusal

Context = grpc.aio.ServicerContext[Any, Any]
Method = TypeVar("Method", bound=Callable[..., Any])
_GUARDED = "_guarded"


def guarded(method: Method) -> Method:
    """Marks a method that checks its caller before anything else."""
    setattr(method, _GUARDED, True)
    return method


def check_all_guarded(servicer: object, service: ServiceDescriptor) -> None:
    """Raises TypeError naming the methods of the service that would answer anybody."""
    names = [method.name for method in service.methods]
    open_ = [name for name in names if not hasattr(getattr(servicer, name), _GUARDED)]
    if open_:
        raise TypeError(f"{', '.join(open_)} of {service.name} would not check who calls")


def no_role(why: NoRole) -> Refusal:
    """For a certificate without a role."""
    return Refusal(
        grpc.StatusCode.UNAUTHENTICATED, "NO_ROLE", f"{why}; make one with 'fleetctl certs user'"
    )
