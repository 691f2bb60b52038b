"""The console script: starts fleetctl where all that it needs is installed."""

from __future__ import annotations

import sys

# Of the extra `cli`; a host's agent is installed without it.
_OF_THE_EXTRA = frozenset({"click", "rich", "cryptography", "lxml", "jsonpath", "textual"})


def main() -> None:
    """Never returns."""
    try:
        from fleetctl.main import main as start
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _OF_THE_EXTRA:
            raise
        sys.exit(
            f"fleetctl: {missing} is not installed in {sys.prefix}, which may be an agent's "
            "environment; install 'megafleet[cli]' for fleetctl"
        )
    except KeyboardInterrupt:  # while it is loaded
        sys.exit(130)
    start()
