"""How gRPC's words about a connection reach people."""

from __future__ import annotations

import grpc
import pytest

from fleet_controller.agents.grpc_errors import errors_as_the_ports
from fleet_controller.agents.port import Unreachable


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:7441: Tls "
            "handshake failed (TSI_PROTOCOL_FAILURE): SSL_ERROR_SSL: error:1000007d:SSL routines:"
            "OPENSSL_internal:CERTIFICATE_VERIFY_FAILED: certificate has expired: OK",
            "h1 at 127.0.0.1:7441: cannot connect: the certificate shown there is refused "
            "(certificate has expired): look at its dates, and both clocks",
        ),
        (
            "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:7441: Failed "
            "to connect to remote host: Connection refused",
            "h1 at 127.0.0.1:7441: cannot connect: Connection refused",
        ),
        (
            "failed to connect to all addresses; last error: UNAVAILABLE: ipv6:%5B::1%5D:7441: "
            "recvmsg:Connection reset by peer",
            "h1 at 127.0.0.1:7441: cannot connect: recvmsg:Connection reset by peer",
        ),
        ("Socket closed", "h1 at 127.0.0.1:7441: Socket closed"),
    ],
)
def test_an_agent_that_cannot_be_reached(words: str, said: str) -> None:
    error = grpc.aio.AioRpcError(
        grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), words
    )
    with pytest.raises(Unreachable) as caught, errors_as_the_ports("h1 at 127.0.0.1:7441"):
        raise error
    assert str(caught.value) == said
