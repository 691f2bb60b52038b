"""A host's problems as a report tells them: counted by kind, one example for the rest."""

from __future__ import annotations

from fleet.v1 import agent_pb2 as wire
from fleet_agent.core.plan.plan import Plan
from fleet_agent.reconcile.failures import VmFailures


def problems_of(made: Plan, failures: VmFailures) -> list[wire.Problem]:
    """Names that are taken, templates that cannot be carried out, and VMs whose last step failed
    and that are not as wanted."""
    conflicts = [
        wire.Problem(
            kind="conflict",
            fleet_uid=kin.fleet_uid,
            count=len(indices),
            example_index=indices.first,
            example_message="a VM of this name exists here and is not to be touched",
        )
        for kin, indices in made.conflicts.items()
    ]
    bad_specs = [
        wire.Problem(
            kind="bad_spec",
            fleet_uid=kin.fleet_uid,
            count=len(refused.indices),
            example_index=refused.indices.first,
            example_message=f"generation {kin.generation} cannot be carried out: {refused.why}",
        )
        for kin, refused in made.bad_specs.items()
    ]
    failed = [
        wire.Problem(
            kind=kind,
            fleet_uid=uid,
            count=count,
            example_index=index,
            example_message=message,
        )
        for (kind, uid), (count, index, message) in failures.counted(made.unmet).items()
    ]
    return conflicts + bad_specs + failed


def driver_problem(error: BaseException) -> wire.Problem:
    """A driver that cannot work at all."""
    return wire.Problem(kind="driver", count=1, example_message=str(error))
