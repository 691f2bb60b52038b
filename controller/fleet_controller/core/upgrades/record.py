"""What is kept of the one upgrade that there is: what was asked, and where it stands."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

import msgspec

from fleet.texts.release import RELEASE
from fleet_controller.core.refusals import Reason, Refused

MAX_WIDTH = 256
MAX_HOSTS = 256  # named one by one: all of it is one record
MAX_SKIPPED = 1000
MAX_LABELS = 16
MAX_TEXT = 255
SECONDS = (10, 86_400)
DEFAULT_LABEL = "rack"
DEFAULT_WIDTH = 16
DEFAULT_SECONDS = 600

_Release = Annotated[str, msgspec.Meta(pattern=rf"\A(?:{RELEASE.pattern})\Z")]
_Width = Annotated[int, msgspec.Meta(ge=1, le=MAX_WIDTH)]
_Seconds = Annotated[int, msgspec.Meta(ge=SECONDS[0], le=SECONDS[1])]


class UpgradeState(StrEnum):
    RUNNING = "running"
    HALTED = "halted"
    DONE = "done"
    CANCELLED = "cancelled"


class UpgradeRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """`under_way`: hosts of the wave that was begun last, and when that was, in seconds since 1970:
    written before the first of them is asked. `failed`: what hosts have said of why they cannot."""

    version: _Release
    wave_label: str = DEFAULT_LABEL
    width: _Width = DEFAULT_WIDTH
    seconds: _Seconds = DEFAULT_SECONDS
    selector: Mapping[str, str] = {}
    hosts: tuple[str, ...] = ()
    state: UpgradeState = UpgradeState.RUNNING
    reason: str = ""
    under_way: Mapping[str, float] = {}
    failed: Mapping[str, str] = {}
    skipped: tuple[str, ...] = ()
    actor: str = ""
    began: float = 0.0
    ended: float = 0.0

    @property
    def is_open(self) -> bool:
        """Whether it may still begin waves, now or when it is resumed."""
        return self.state in (UpgradeState.RUNNING, UpgradeState.HALTED)


def check_asked(asked: UpgradeRecord) -> None:
    """Raises Refused for what no upgrade can be."""
    if not RELEASE.fullmatch(asked.version):
        raise Refused(Reason.BAD_QUERY, f"{asked.version[:40]!r} is not a release, such as 0.2.0")
    if not 1 <= asked.width <= MAX_WIDTH:
        raise Refused(Reason.BAD_QUERY, f"a wave is of 1 to {MAX_WIDTH} hosts, not {asked.width}")
    if not SECONDS[0] <= asked.seconds <= SECONDS[1]:
        raise Refused(
            Reason.BAD_QUERY,
            f"hosts may take {SECONDS[0]} s to {SECONDS[1] // 3600} h to be back, not "
            f"{asked.seconds:,} s",
        )
    if len(asked.hosts) > MAX_HOSTS:
        raise Refused(
            Reason.BAD_QUERY, f"at most {MAX_HOSTS} hosts can be named: choose by label instead"
        )
    if len(asked.selector) > MAX_LABELS or any(
        len(key) > MAX_TEXT or len(value) > MAX_TEXT for key, value in asked.selector.items()
    ):
        raise Refused(Reason.BAD_QUERY, f"hosts are chosen by at most {MAX_LABELS} labels")
    if len(asked.wave_label) > 63 or not re.fullmatch(r"[!-~]+", asked.wave_label):
        raise Refused(Reason.BAD_QUERY, f"{asked.wave_label[:40]!r} is not the name of a label")
