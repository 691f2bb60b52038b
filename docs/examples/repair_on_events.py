"""Starts VMs of a fleet again that somebody has stopped, at once: repair_on_events.py FLEET

Events wake it, and each time it looks at how things are: so an event that is missed, or told twice,
does no harm. It goes on until Ctrl-C.
"""

from __future__ import annotations

import asyncio
import sys

from megafleet.client import Client, EventGap, MegafleetError


async def main(fleet: str) -> None:
    async with Client.connect() as client:
        # Where events are now, and then a look at everything: nothing falls in between.
        past = await client.past_events(limit=1)
        await repair(client, fleet)
        print("following", flush=True)
        async for event in client.events(after=past[-1].cursor if past else 0, fleet=fleet):
            if isinstance(event, EventGap):
                print(f"events may be missing ({event.kind}): looking at everything", flush=True)
                await repair(client, fleet)
            elif event.kind == "vms_stop":
                await repair(client, fleet)


async def repair(client: Client, fleet: str) -> None:
    off = [vm.index async for vm in client.vms(fleet, powered_off=True)]
    if not off:
        return
    try:
        done = await client.control_vms(fleet, "start", indices=off)
    except MegafleetError as error:  # the next event tries again
        print(f"not started: {error}", flush=True)
    else:
        print(f"started {done.vms} VMs, change {done.change_id}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: repair_on_events.py FLEET")
    try:
        asyncio.run(main(sys.argv[1]))
    except KeyboardInterrupt:
        pass
    except MegafleetError as error:
        sys.exit(str(error))
