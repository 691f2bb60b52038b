"""Gives a fleet a total, and waits until it is true: scale_and_wait.py FLEET TOTAL

What it would do is looked at first: it scales only where every VM finds a place and none is moved.
"""

from __future__ import annotations

import sys

from megafleet.client import FailedForGood, MegafleetError, NotConverged, SyncClient


def main(fleet: str, total: int) -> int:
    with SyncClient.connect() as client:
        plan = client.plan_scale(fleet, total, partial=True)
        if plan.unplaced or plan.moves:
            print(f"not done: {plan.unplaced} VMs find no place, {plan.moves} would be moved")
            return 1
        # With the token it is refused if anything has changed since the plan.
        change = client.scale(fleet, total, token=plan.token)
        print(f"{fleet}: {change.from_total} -> {change.total} VMs, change {change.change_id}")
        try:
            status = client.wait(change, timeout=300)
        except (NotConverged, FailedForGood) as error:
            print(error)
            for reason, vms in client.status(fleet).fleets[0].problems.items():
                print(f"  {vms} VMs: {reason}")
            return 1
        print(f"{fleet}: {status.running} VMs run")
        return 0


if __name__ == "__main__":
    if len(sys.argv) != 3 or not sys.argv[2].isdecimal():
        sys.exit("usage: scale_and_wait.py FLEET TOTAL")
    try:
        sys.exit(main(sys.argv[1], int(sys.argv[2])))
    except MegafleetError as error:
        sys.exit(f"{error}{f' ({error.reason})' if error.reason else ''}")
