"""The least that a fleet file may hold, and what the mistakes of one are told as."""

from __future__ import annotations

import pytest

from megafleet.fleet_file.documents import FleetFileError
from megafleet.fleet_file.parser import parse_fleet_file

LEAST = """\
name: spv
image:
  name: golden
  snapshot: 1
memory: 256MiB
boot:
  kernel: /boot/vmlinuz
"""


def told(text: str) -> str:
    with pytest.raises(FleetFileError) as caught:
        parse_fleet_file(text, "f.yaml")
    return str(caught.value)
