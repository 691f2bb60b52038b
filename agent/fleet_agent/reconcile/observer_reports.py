"""What observers get besides: see `observe` in proto/fleet/v1/agent.proto."""

from __future__ import annotations

from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet_agent.core.plan.unlisted_states import unlisted_states
from fleet_agent.reconcile.fencing import FencedAssignment
from fleet_agent.reporting.board import Board


def add_for_observer(report: wire.Report, fenced: FencedAssignment, board: Board) -> None:
    """Reports follow the loop, which a driver may hold up. An observer gets the assignment in the
    ledger all the same: it is carried out once the driver works again."""
    record, behind = fenced.record, board.epoch != fenced.record.epoch
    report.epoch.CopyFrom(record.epoch_message())
    report.converged = report.converged and not behind
    if not report.full:
        return
    assignment = types.Assignment.FromString(record.assignment)
    report.fleets.extend(assignment.fleets)
    report.specs.extend(assignment.specs)
    report.term.CopyFrom(record.term_message())
    report.assignment, report.assignment_seal = record.assignment, record.assignment_seal
    if behind:
        _add_unlisted(report, fenced, board)


def _add_unlisted(report: wire.Report, fenced: FencedAssignment, board: Board) -> None:
    """The later of two words about a VM holds."""
    known = {kin: states.indices for kin, states in board.kins.items()}
    for kin, states in unlisted_states(fenced.assignment, known).items():
        report.shards.append(
            wire.ShardReport(
                fleet_uid=kin.fleet_uid,
                generation=kin.generation,
                birth=kin.birth,
                runs=[
                    wire.StateRun(start=start, states=bytes((state,)) * (stop - start))
                    for state, indices in states
                    for start, stop in indices.ranges
                ],
            )
        )
