"""A member of etcd whose data is gone is replaced in the cluster that the others are."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fleetctl.sandbox.errors import SandboxError
from fleetctl.sandbox.state.identities import files_of

_SECONDS = 10.0
# For all tries, and between two of them.
_PATIENCE = 30.0
_LOOK_SECONDS = 0.5


def replace_member(address: str, identity: Path, name: str, peer_url: str) -> None:
    """Have the cluster forget the member at this peer URL, and expect a new one there. `address`:
    of another member, with a quorum behind it. Raises SandboxError."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return _replace(address, identity, peer_url)
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            # Members that have just been started refuse for some seconds: "unhealthy cluster".
            if time.monotonic() > deadline:
                raise SandboxError(
                    f"the data of {name} is gone, and the other members do not take it in anew: "
                    f"{error}; 'fleetctl sandbox down' and 'up' begin with an empty store"
                ) from error
            time.sleep(_LOOK_SECONDS)


def _replace(address: str, identity: Path, peer_url: str) -> None:
    for member in _ask(address, identity, "list", {}).get("members", []):
        if peer_url in member.get("peerURLs", []):
            _ask(address, identity, "remove", {"ID": member["ID"]})
    _ask(address, identity, "add", {"peerURLs": [peer_url]})


def _ask(address: str, identity: Path, what: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    """One call of etcd's JSON gateway. Raises OSError, HTTPException, ValueError."""
    ca, certificate, key = files_of(identity)
    context = ssl.create_default_context(cafile=ca)
    context.load_cert_chain(certificate, key)
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPSConnection(host, int(port), timeout=_SECONDS, context=context)
    try:
        connection.request("POST", f"/v3/cluster/member/{what}", json.dumps(asked))
        answer = connection.getresponse()
        said = json.loads(answer.read())
        if answer.status != http.client.OK or not isinstance(said, dict):
            raise ValueError(said.get("message", answer.reason) if isinstance(said, dict) else said)
        return said
    finally:
        connection.close()
