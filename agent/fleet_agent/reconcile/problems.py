"""A host's problems as a report tells them: counted by kind, one example for the rest."""

from __future__ import annotations

from fleet.keys import NO_EPOCH
from fleet.v1 import agent_pb2 as wire
from fleet_agent.core.plan.plan import Plan
from fleet_agent.reconcile.failures import VmFailures
from fleet_agent.reconcile.fencing import FencedAssignment


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
            example_message=_sayable(message),
        )
        for (kind, uid), (count, index, message) in failures.counted(made.unmet).items()
    ]
    return conflicts + bad_specs + failed


def ledger_problems(fenced: FencedAssignment) -> list[wire.Problem]:
    """An older ledger that was put back."""
    if fenced.older_than == NO_EPOCH:
        return []
    message = (
        f"the agent's ledger is of epoch {fenced.record.epoch}, and what exists was made under "
        f"{fenced.older_than}: an older ledger was put back. Nothing is started, made or removed "
        "before a controller assigns anew"
    )
    return [wire.Problem(kind="old_ledger", count=1, example_message=message)]


def driver_problem(error: BaseException) -> wire.Problem:
    """A driver that cannot work at all."""
    return wire.Problem(kind="driver", count=1, example_message=_sayable(str(error)))


def _sayable(message: str) -> str:
    """Drivers tell what others said: it may hold what no message on the wire can."""
    return message.encode("utf-8", "backslashreplace").decode()
