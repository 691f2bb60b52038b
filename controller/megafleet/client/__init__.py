"""A cluster of Megafleet from Python: reached, asked, changed and followed, as fleetctl does it.

    from megafleet.client import SyncClient

    with SyncClient.connect() as client:
        change = client.scale("spv", 1000)
        client.wait(change)

`Client` is the same for asyncio. What `__all__` names is what other programs are promised,
by `__version__`: docs/client.md says how. All other modules of `megafleet` are how it is done.
"""

from megafleet.client.client import Client
from megafleet.client.events import Event, EventGap, GapKind
from megafleet.client.files import parse_fleets, read_fleets
from megafleet.client.fleets import Applied, ClusterStatus, Fleet, FleetPlans, FleetStatus, Scaled
from megafleet.client.hosts import Drain, Host, HostDetail
from megafleet.client.sync_client import SyncClient
from megafleet.client.vms import Controlled, Indices, Vm, VmDetail, VmPage
from megafleet.client.words import HostHealth, VmAction, VmState
from megafleet.conditions import Condition
from megafleet.contexts import ClusterContext
from megafleet.errors import (
    Failed,
    FailedForGood,
    InvalidArgument,
    MegafleetError,
    NoAnswer,
    NotAllowed,
    NotConverged,
    Refused,
    Superseded,
    Unavailable,
    Unreachable,
)
from megafleet.fleet_file.parser import ParsedFleet

# Of what is promised here, and not of the release that has it: MAJOR.MINOR.
__version__ = "1.0"

__all__ = [
    "Applied", "Client", "ClusterContext", "ClusterStatus", "Condition", "Controlled", "Drain",
    "Event", "EventGap", "Failed", "FailedForGood", "Fleet", "FleetPlans", "FleetStatus", "GapKind",
    "Host", "HostDetail", "HostHealth", "Indices", "InvalidArgument", "MegafleetError", "NoAnswer",
    "NotAllowed", "NotConverged", "ParsedFleet", "Refused", "Scaled", "Superseded", "SyncClient",
    "Unavailable", "Unreachable", "Vm", "VmAction", "VmDetail", "VmPage", "VmState", "__version__",
    "parse_fleets", "read_fleets",
]  # fmt: skip
