"""How a hollow host behaves: latencies and faults, decided by a seed and nothing else."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec

from fleet.ranges import IndexSet
from fleet_agent.core.model import StepKind

Seconds = Annotated[float, msgspec.Meta(ge=0)]


class Latency(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Seconds. `per_vm` is the work for one VM, `concurrency` the hands that the host has for
    this step; `base` passes between the work and its result, and keeps no hand busy.

    `spread` varies the work by that share up or down, by host and VM.
    """

    base: Seconds = 0.0
    per_vm: Seconds = 0.0
    concurrency: Annotated[int, msgspec.Meta(ge=1)] = 1
    spread: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A share `rate` of VMs fails at `step` with `kind`: `attempts` times, or for good (0)."""

    step: StepKind
    rate: Annotated[float, msgspec.Meta(ge=0, le=1)]
    kind: str
    message: str = "injected by the profile"
    attempts: Annotated[int, msgspec.Meta(ge=0)] = 0


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Latency by step, faults, and what the host says it has."""

    latency: Mapping[StepKind, Latency] = {}
    faults: tuple[Fault, ...] = ()
    memory_bytes: Annotated[int, msgspec.Meta(ge=0)] = 1 << 40
    pool_bytes: Annotated[int, msgspec.Meta(ge=0)] = 1 << 44
    # Whether it has whatever a fleet asks for; else only what is imported, and `bridges`.
    has_everything: bool = True
    # How long any command in a guest takes, and the share of guests that never answer one.
    command_seconds: Seconds = 0.0
    silent_guests: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    bridges: tuple[str, ...] = ()


class BadProfile(ValueError):
    """One sentence: the file, the field, and what is allowed."""


INSTANT = Profile()

# One good hardware dom0: 8 threads clone through libzfs_core at 50 ms, libxl starts 4 domains at
# a time at 0.6 s, and a small guest is up 1.5 s later. The starts are what binds: 250 VMs take
# some 42 s where admission lets 16 or more boot at once, some 65 s with 8.
DOM0 = Profile(
    latency={
        StepKind.CLONE: Latency(base=0.02, per_vm=0.05, concurrency=8, spread=0.2),
        StepKind.DEFINE: Latency(base=0.01, per_vm=0.02, concurrency=4, spread=0.2),
        StepKind.START: Latency(base=0.02, per_vm=0.6, concurrency=4, spread=0.2),
        StepKind.AWAIT_READY: Latency(base=1.5, per_vm=0.01, concurrency=4, spread=0.2),
        StepKind.STOP: Latency(base=0.02, per_vm=0.3, concurrency=8, spread=0.2),
        StepKind.UNDEFINE: Latency(base=0.02, per_vm=0.3, concurrency=8, spread=0.2),
        StepKind.DESTROY: Latency(base=0.02, per_vm=0.04, concurrency=8, spread=0.2),
    }
)

NAMED: Mapping[str, Profile] = {"instant": INSTANT, "dom0": DOM0}


def load_profile(name: str) -> Profile:
    """`instant`, `dom0`, or the path of a TOML file. Raises BadProfile."""
    if name in NAMED:
        return NAMED[name]
    path = Path(name)
    try:
        return msgspec.toml.decode(path.read_bytes(), type=Profile)
    except OSError as error:
        known = ", ".join(NAMED)
        raise BadProfile(
            f"profile {name!r} is none of {known}, and as a file it cannot be read: "
            f"{error.strerror}"
        ) from error
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise BadProfile(f"profile {path}: {error}") from error


class Dice:
    """What chance decides on one host: the same for the same seed, host, step and index."""

    def __init__(self, profile: Profile, seed: int, host: str) -> None:
        self._silent = profile.silent_guests
        self._faults = {
            kind: tuple(fault for fault in profile.faults if fault.step is kind)
            for kind in StepKind
        }
        self._salt = f"{seed}/{host}".encode()
        self._failed: dict[tuple[StepKind, str, int], int] = {}

    def seconds(self, kind: StepKind, latency: Latency, indices: IndexSet) -> float:
        """How long all hands together work on these VMs. Each VM has its own luck; that of many
        together deviates by the root of their number less."""
        work = latency.per_vm * len(indices) / latency.concurrency
        if latency.spread and indices:
            luck = 2 * self._share(kind, "", indices.first) - 1
            work *= 1.0 + latency.spread * luck / math.sqrt(len(indices))
        return work

    def fault(self, kind: StepKind, fleet_uid: str, index: int) -> Fault | None:
        """The fault that hits this attempt, if any."""
        for fault in self._faults[kind]:
            if self._share(kind, f"{fleet_uid}/{fault.kind}", index) >= fault.rate:
                continue
            if not fault.attempts:
                return fault
            failed = self._failed.get((kind, fleet_uid, index), 0)
            if failed < fault.attempts:
                self._failed[kind, fleet_uid, index] = failed + 1
                return fault
        return None

    def has_faults(self, kind: StepKind) -> bool:
        return bool(self._faults[kind])

    def is_silent(self, fleet_uid: str, index: int) -> bool:
        """Whether a guest answers no command."""
        return self._share("command", fleet_uid, index) < self._silent

    def _share(self, kind: str, what: str, index: int) -> float:
        """A number in [0, 1)."""
        text = self._salt + f"/{kind}/{what}/{index}".encode()
        digest = hashlib.blake2b(text, digest_size=8).digest()
        return int.from_bytes(digest, "big") / 2.0**64
