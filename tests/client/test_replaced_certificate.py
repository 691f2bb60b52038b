"""A certificate of one's own that is replaced while a client runs."""

from __future__ import annotations

import time
from pathlib import Path

from fleet.transport import Role
from fleetctl.local.certificate_authority import write_identity
from fleetctl.local.key_files import write_private
from megafleet.connection.replicas.replicas import Replicas
from megafleet.contexts import ClusterContext
from tests.certificates import authority


def test_the_next_call_is_made_with_what_is_there_then(tmp_path: Path) -> None:
    write_identity(tmp_path, authority().identity(Role.OPERATOR, "alice"))
    replicas = Replicas(ClusterContext.with_identity(["127.0.0.1:9"], tmp_path), time.monotonic)
    first = replicas.stub("127.0.0.1:9")
    assert replicas.stub("127.0.0.1:9") is first
    after = authority().identity(Role.OPERATOR, "alice")
    (tmp_path / "cert.pem").write_bytes(after.certificate)
    assert replicas.stub("127.0.0.1:9") is first, "half of a pair is no certificate"
    write_private(tmp_path / "key.pem", after.key)
    second = replicas.stub("127.0.0.1:9")
    assert second is not first and replicas.stub("127.0.0.1:9") is second
