"""Writes how many VMs of each fleet are in which state, and which failed: report.py

Every VM is looked at, a page at a time: a million of them need the memory of one page.
"""

from __future__ import annotations

import sys
from collections import Counter

from megafleet.client import MegafleetError, SyncClient, VmState

SHOWN = 10


def main() -> None:
    with SyncClient.connect(timeout=30) as client:
        for fleet in client.fleets():
            states: Counter[VmState] = Counter()
            racks: Counter[str] = Counter()
            failed: list[str] = []
            rack_of = {one.id: one.labels.get("rack", "") for one in client.hosts()}
            for page in client.vm_pages(fleet.name, page=5000):
                for vm in page.vms:
                    states[vm.state] += 1
                    racks[rack_of.get(vm.host, "nowhere")] += 1
                    if vm.state is VmState.FAILED and len(failed) < SHOWN:
                        failed.append(f"{vm.name} on {vm.host}: {vm.reason or 'no reason known'}")
            print(f"{fleet.name}: {states.total():,} of {fleet.total:,} VMs")
            for state, count in states.most_common():
                print(f"  {state}: {count:,}")
            for rack, count in sorted(racks.items()):
                print(f"  in {rack}: {count:,}")
            for line in failed:
                print(f"  {line}")


if __name__ == "__main__":
    try:
        main()
    except MegafleetError as error:
        sys.exit(str(error))
