"""How a wait ends that nothing but a change by somebody can end."""

from __future__ import annotations

from fleet.v1 import cluster_pb2 as cluster
from fleetctl.outcome import FailedForGood
from fleetctl.output import counted
from fleetctl.views.fleets.fleet_status import reasons_text


def failed_for_good(status: cluster.FleetStatus) -> FailedForGood:
    """The trouble to end with: what has failed, why, and what to do."""
    vms = counted(status.failed_for_good, "VM")
    return FailedForGood(
        f"{vms} of {status.fleet} failed, and waiting does not mend it: "
        f"{reasons_text(status, lasting=True)}. Mend that, then "
        f"'fleetctl vms retry {status.fleet} --all'"
    )
