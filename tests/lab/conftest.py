"""The programs of the lab and of the guests are not part of an installed package: found by path."""

import sys
from pathlib import Path

_DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
for _folder in (_DEPLOY / "lab", _DEPLOY / "guests" / "linux"):
    sys.path.insert(0, str(_folder))
