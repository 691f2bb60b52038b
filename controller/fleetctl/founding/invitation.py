"""What a machine of the control plane is given: one string, with its keys in it. The next one gets
all that it is to be; one that is there already gets new certificates.

Whoever reads it may be that controller. It is good for one machine; it goes over a channel that is
trusted with keys, such as ssh.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from fleet.endpoints import BadEndpoint, dialled
from fleet.peers import is_name
from fleet.transport import Identity
from fleetctl.founding.replica import Replica, endpoint
from fleetctl.local.certificate_authority import Issued
from fleetctl.outcome import Misuse

_JOINS, _RENEWS = "mfc1", "mfr1"
# Four keys and six certificates take some 5 KB.
_MOST_BYTES = 64 * 1024
FOLDERS = ("controller", "etcd", "etcd-client")
_FILES = ("ca", "certificate", "key")


@dataclass(frozen=True, slots=True)
class Invitation:
    """`issuing`: by which its controller signs hosts. `others`: peer URLs of etcd's other members
    by name; `clients`: where they serve clients. `renews`: it brings new certificates to a machine
    that is this controller, and no more."""

    replica: Replica
    identities: Mapping[str, Identity]
    issuing: Issued
    others: Mapping[str, str]
    clients: tuple[str, ...]
    state: str = "existing"
    renews: bool = False

    def text(self) -> str:
        said = {
            "replica": asdict(self.replica),
            "others": dict(self.others),
            "clients": list(self.clients),
            "identities": {
                folder: {name: getattr(one, name).decode() for name in _FILES}
                for folder, one in self.identities.items()
            },
            "issuing": {
                "certificate": self.issuing.certificate.decode(),
                "key": self.issuing.key.decode(),
            },
        }
        packed = zlib.compress(json.dumps(said, separators=(",", ":")).encode(), 9)
        mark = _RENEWS if self.renews else _JOINS
        return f"{mark}.{base64.urlsafe_b64encode(packed).decode()}"


def read_invitation(text: str) -> Invitation:
    """Raises Misuse for what is none, or was cut off on the way."""
    mark, _, packed = "".join(text.split()).partition(".")
    if mark not in (_JOINS, _RENEWS) or len(packed) > _MOST_BYTES:
        raise Misuse(_NONE)
    try:
        inflater = zlib.decompressobj()
        raw = inflater.decompress(base64.urlsafe_b64decode(packed), _MOST_BYTES)
        if not inflater.eof:
            raise Misuse(_NONE)
        return replace(_invitation(json.loads(raw)), renews=mark == _RENEWS)
    except (binascii.Error, zlib.error, ValueError, TypeError, KeyError, AttributeError) as error:
        raise Misuse(f"{_NONE} ({type(error).__name__})") from error


def _invitation(said: Any) -> Invitation:
    replica = Replica(**said["replica"])
    if not is_name(replica.name):
        raise ValueError(replica.name)
    for port in (replica.port, replica.client_port, replica.peer_port, replica.join_port):
        _checked(endpoint(replica.address, port))
    others = {str(name): str(url) for name, url in said["others"].items()}
    for name, url in others.items():
        if not is_name(name):
            raise ValueError(name)
        _checked(url.removeprefix("https://"))
    clients = tuple(_checked(str(one)) for one in said["clients"])
    identities = {
        folder: Identity(*(said["identities"][folder][name].encode() for name in _FILES))
        for folder in FOLDERS
    }
    issuing = Issued(*(said["issuing"][name].encode() for name in ("certificate", "key")))
    return Invitation(replica, identities, issuing, others, clients)


def _checked(text: str) -> str:
    try:
        return dialled(text)
    except BadEndpoint as error:
        raise ValueError(str(error)) from error


_NONE = (
    "this is not what 'fleetctl cluster add-controller' or 'renew' of this version printed, or a "
    "part of it is missing: give the whole line"
)
