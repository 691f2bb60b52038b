"""What `status --check` does: one line and an exit code for whatever watches at night.

Whatever happens ends in one of four codes: that of a check says how the cluster is, and where that
cannot be found out it is UNKNOWN.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from fleetctl.outcome import Trouble
from fleetctl.output import say, say_json
from fleetctl.session import Session

if TYPE_CHECKING:
    from fleetctl.views.cluster.health_check import Verdict

FLAG = "--check"
# Below the ten seconds after which Nagios ends a plugin of its own accord.
SECONDS = 8.0
_NO_LEADER = "NOT_LEADER"


class CheckableCommand(click.Command):
    """With --check, mistakes of the command line are UNKNOWN too: 2 would be CRITICAL."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        checks = FLAG in args
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            if not checks or ctx.resilient_parsing:
                raise
            from fleetctl.views.cluster.health_check import unknown

            ctx.exit(told(ctx.find_root().ensure_object(Session),
                          unknown(error.format_message(), "usage")))  # fmt: skip


def check(session: Session, fleet: str) -> int:
    """Says the line, and returns the exit code."""
    return told(session, _verdict(session, fleet))


def told(session: Session, verdict: Verdict) -> int:
    from fleetctl.views.cluster.health_check import check_json, check_line

    if session.json:
        say_json(check_json(verdict))
    else:
        say(check_line(verdict))
    return int(verdict.level)


def _verdict(session: Session, fleet: str) -> Verdict:
    from fleetctl.views.cluster.health_check import no_leader, unknown, verdict_of

    try:
        from fleet.v1 import cluster_pb2

        request = cluster_pb2.StatusRequest(fleet=fleet)
        seconds = session.request_timeout or SECONDS
        answer = session.cluster.call(lambda stub: stub.Status, request, seconds)
        return verdict_of(answer, time.time())
    except Trouble as trouble:
        if trouble.reason == _NO_LEADER:
            return no_leader(trouble.message)
        return unknown(trouble.message)
    except Exception as error:  # 1, as a process ends with that fails, would be a mere WARNING
        return unknown(f"internal error: {type(error).__name__}: {error}", "internal")
