"""The folder with the host's key, its certificate and whom it trusts: each file replaced whole.

The key stays the same for as long as the host is: so that key.pem and cert.pem fit one another at
every moment, whenever the machine is switched off.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from fleet.private_file import read_private, replace_private

KEY, CERTIFICATE, AUTHORITIES, JOINED = "key.pem", "cert.pem", "ca.pem", "joined.json"


class IdentityFolder:
    """All methods raise OSError. They are quick, and block."""

    def __init__(self, folder: Path, *, lasting: bool = True) -> None:
        """`lasting`: what is written is on the disk when a method returns."""
        self.path = folder
        self._lasting = lasting

    def key(self) -> bytes:
        """PEM; made here if there is none, for nobody else to read at any moment."""
        try:
            return read_private(self.path / KEY)
        except FileNotFoundError:
            from fleet.certificates.signing_request import new_key

            key = new_key()
            self._replace(KEY, key)
            return key

    def save(self, certificates: bytes, authorities: bytes) -> None:
        """PEM of both. Whom the host trusts comes first: it trusts more meanwhile, not less."""
        self._replace(AUTHORITIES, authorities)
        self._replace(CERTIFICATE, certificates)

    def save_joined(self, text: bytes) -> None:
        """What the host was told when it joined."""
        self._replace(JOINED, text)

    def check_writable(self) -> None:
        """Before anybody is asked for a certificate."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=self.path):
            pass

    def _replace(self, name: str, content: bytes) -> None:
        try:
            replace_private(self.path / name, content, lasting=self._lasting)
        except FileNotFoundError:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            replace_private(self.path / name, content, lasting=self._lasting)
