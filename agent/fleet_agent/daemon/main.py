"""fleet-agent: the agent of one dom0. Stopping it stops no VM.

How soon a restarted agent knows what runs is mostly how soon its libraries are loaded. Nothing of
what loads them is garbage, and looking for some costs a sixth of that time.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys


def main() -> None:
    gc.disable()
    # gRPC's handlers of fork() would kill what libvirt's client forks: the session's daemon.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    from fleet.serving.process_memory import bound_arenas
    from fleet_agent.daemon import agent_process, join_command, logs, settings

    gc.enable()
    bound_arenas()
    try:
        if sys.argv[1:2] == ["join"]:
            join_command.run_join(sys.argv[2:])
            return
        asked = settings.load()
        logs.configure(asked.log.level, as_json=asked.log.json)
        asyncio.run(agent_process.run(asked))
    except (*agent_process.MISTAKES, *join_command.MISTAKES) as error:
        sys.exit(f"fleet-agent: {error}")
    except OSError as error:
        where = f" {error.filename}:" if error.filename else ""
        sys.exit(f"fleet-agent:{where} {error.strerror or error}")


if __name__ == "__main__":
    main()
