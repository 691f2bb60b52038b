"""What a sandbox cannot do without, foreseen: files that may be open, and room on the disk."""

from __future__ import annotations

from fleetctl.output import byte_text
from fleetctl.sandbox.errors import SandboxError

# A controller's own 256 (fleet_controller.main), and as many for links and hollow hosts.
FEWEST_DESCRIPTORS = 512
# etcd sets aside two segments of 64 MB for its log at once; then its database, and logs.
ETCD_BYTES = 192 * 2**20


def check_room(descriptors: int, free_bytes: int, new_members: int, folder: str) -> None:
    """Raises SandboxError. `free_bytes`: of the disk that has the folder; `new_members`: of etcd,
    that have no data yet."""
    if descriptors < FEWEST_DESCRIPTORS:
        raise SandboxError(
            f"a process may open {descriptors} files here, and a sandbox needs "
            f"{FEWEST_DESCRIPTORS}: raise the limit (ulimit -Hn) and run this again"
        )
    needed = new_members * ETCD_BYTES
    if free_bytes < needed:
        raise SandboxError(
            f"the disk of {folder} has {byte_text(free_bytes)} free, and etcd takes "
            f"{byte_text(needed)} at once: make room there, or set XDG_STATE_HOME to another disk"
        )
