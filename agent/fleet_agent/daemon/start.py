"""The entry point of fleet-agent.

How soon a restarted agent knows what runs is mostly how soon its libraries are loaded. Nothing of
what loads them is garbage, and looking for some costs a sixth of that time.
"""

from __future__ import annotations

import gc


def main() -> None:
    gc.disable()
    from fleet_agent.daemon.main import main as agent

    gc.enable()
    agent()
