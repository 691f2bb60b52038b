"""libvirt's Python binding for the agent: its interpreter's own, or Debian's lent to it.

Debian's python3-libvirt lies among all of the system's packages, which a locked environment is
not to see. Where the binary fits this interpreter, the binding's own files are linked into a
folder that the agent alone looks into.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from fleetctl.sandbox.errors import SandboxError

DEBIAN = Path("/usr/lib/python3/dist-packages")
_FILES = ("libvirt.py", "libvirt_qemu.py", "libvirtmod*.so")


def has_binding() -> bool:
    """Whether there is any, fitting or not."""
    return _own() or (DEBIAN / "libvirt.py").exists()


def lend(folder: Path) -> dict[str, str]:
    """What the agent's environment needs for it. Raises SandboxError, OSError."""
    if _own():
        return {}
    folder.mkdir(exist_ok=True, mode=0o700)
    for pattern in _FILES:
        for file in DEBIAN.glob(pattern):
            link = folder / file.name
            link.unlink(missing_ok=True)
            link.symlink_to(file)
    lent = {"PYTHONPATH": str(folder)}
    tried = subprocess.run(
        [sys.executable, "-c", "import libvirt"],
        env={**os.environ, **lent},
        capture_output=True,
        text=True,
        timeout=60,
    )
    if tried.returncode:
        why = tried.stderr.strip().rpartition("\n")[2]
        raise SandboxError(
            f"Debian's python3-libvirt does not fit {sys.executable} ({why}): make the environment "
            "with Debian's python3 (rm -r .venv; make setup PYTHON=/usr/bin/python3)"
        )
    return lent


def _own() -> bool:
    return importlib.util.find_spec("libvirt") is not None
