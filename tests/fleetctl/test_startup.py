"""A short-lived process loads only what its command uses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

UNUSED = (
    "csv",
    "jsonpath",
    "yaml",
    "msgspec",
    "rich",
    "textual",
    "cryptography",
    "asyncio",
    "grpc.aio",
    "numpy",
    "fleetctl.local.certificate_authority",
)

PROBE = """
import json, sys
from fleetctl.cli import startup
startup.prepare()
from fleetctl.main import run
run(sys.argv[1:])
loaded = [name for name in sys.modules if not isinstance(sys.modules[name], startup._Deferred)]
print(json.dumps(loaded))
"""


@pytest.mark.parametrize("arguments", [["status"], ["--help"], ["vms", "list"], ["fleets"]])
def test_what_is_seldom_used_is_not_loaded(arguments: list[str], tmp_path: Path) -> None:
    environment = {
        "MEGAFLEET_CONFIG": str(tmp_path / "none.toml"),
        "MEGAFLEET_ENDPOINTS": "127.0.0.1:1",
        "MEGAFLEET_IDENTITY": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments],
        env=environment, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert not loaded & set(UNUSED)
    assert "fleetctl.main" in loaded


def test_what_was_put_off_is_there_when_it_is_asked_for() -> None:
    code = (
        "from fleetctl.cli import startup; startup.prepare()\n"
        "import grpc, sys\n"
        "early = sys.modules['grpc.aio']\n"
        "from grpc.aio import insecure_channel\n"
        "import grpc.aio\n"
        "assert sys.modules['grpc.aio'] is not early\n"
        "assert early.Channel is grpc.aio.Channel and grpc.aio.insecure_channel is insecure_channel"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
