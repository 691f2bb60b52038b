"""Where the files of a controller lie on its machine, whose they are, and where they are below a
folder instead."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from fleetctl.local.key_files import hand_over, write_public
from fleetctl.outcome import Failed

ETCD_USER, CONTROLLER_USER = "etcd", "megafleet"


@dataclass(frozen=True, slots=True)
class Machine:
    """Its files: those of Debian's etcd-server and of megafleet-controller. `root` is / but for who
    tries it out, or has no systemd."""

    root: Path = Path("/")

    @property
    def is_whole(self) -> bool:
        return self.root == Path("/")

    @property
    def settings(self) -> Path:
        return self.root / "etc/megafleet"

    @property
    def controller_settings(self) -> Path:
        return self.settings / "controller.env"

    @property
    def controller(self) -> Path:
        return self.settings / "controller"

    @property
    def etcd_client(self) -> Path:
        return self.settings / "etcd-client"

    @property
    def issuing(self) -> Path:
        """The key by which its controller signs certificates of hosts."""
        return self.settings / "issuing"

    @property
    def etcd(self) -> Path:
        return self.settings / "etcd"

    @property
    def etcd_settings(self) -> Path:
        return self.root / "etc/default/etcd"

    @property
    def etcd_data(self) -> Path:
        return self.root / "var/lib/etcd/megafleet"

    @property
    def has_run_etcd(self) -> bool:
        """Whether a member of etcd has come up here: it makes its log once it has."""
        return (self.etcd_data / "member" / "wal").exists()

    def hand_over(self, folder: Path, user: str) -> None:
        """The folder and what is in it, where this is the whole machine. Raises Failed where the
        user is missing."""
        if not self.is_whole or os.geteuid() != 0:
            return
        try:
            owner = pwd.getpwnam(user)
        except KeyError as error:
            raise Failed(f"there is no user {user} here: {_PACKAGES[user]} makes it") from error
        hand_over(folder, owner.pw_uid, owner.pw_gid)


_PACKAGES = {
    ETCD_USER: "Debian's package etcd-server",
    CONTROLLER_USER: "the package megafleet-controller",
}


def write_settings(file: Path, text: str) -> None:
    """In one step: whoever reads it sees the old one or the new one. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_public(file, text.encode())
