"""What services share. Apart from `transport`, since clients do without grpc.aio."""

from __future__ import annotations

from typing import Any

import grpc

from fleet.transport import Refusal

Context = grpc.aio.ServicerContext[Any, Any]


def no_role() -> Refusal:
    """For a certificate without a role."""
    return Refusal(
        grpc.StatusCode.UNAUTHENTICATED,
        "NO_ROLE",
        "the certificate names no role: make one with 'fleetctl certs user'",
    )
