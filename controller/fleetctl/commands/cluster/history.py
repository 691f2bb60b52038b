"""fleetctl history: who changed what, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fleetctl.cli.arguments import change_id, fleet_argument
from fleetctl.session import Session, connection_options, list_options, pass_session

if TYPE_CHECKING:
    from fleet.v1 import cluster_pb2 as cluster

# Of one call; what the controller gives at most.
PAGE = 1_000


@click.command()
@fleet_argument
@click.option("--host", default="", metavar="HOST", help="Only what concerns this host.")
@click.option(
    "--limit",
    type=click.IntRange(1, 10_000),
    default=50,
    show_default=True,
    help="At most so many, the newest.",
)
@click.option(
    "--before",
    type=click.IntRange(1),
    default=None,
    metavar="ID",
    help="Only older ones than this record.",
)
@click.option(
    "--change",
    metavar="ID",
    type=change_id,
    default="",
    help="Only of this change, as -v and -o json told its id.",
)
@list_options
@connection_options
@pass_session
def history(
    session: Session, fleet: str, host: str, limit: int, before: int | None, change: str
) -> None:
    """Show which changes were accepted: who asked for them, when, from what to what.

    The latest is last. They are kept in the store, the newest few thousand, and are there after
    any failover. What the leader did by itself is by `leader`. `fleetctl events` shows what
    happened besides.
    """  # fmt: skip
    records, following = _read(session, fleet, host, limit, before or 0, change)
    from fleetctl.tables.answer import ListAnswer
    from fleetctl.tables.listing import say_list
    from fleetctl.views.cluster.history import HISTORY_COLUMNS, record_json

    records.reverse()
    more = f"there are older ones: --before {following}, or a higher --limit"
    answer = ListAnswer(
        HISTORY_COLUMNS,
        records,
        lambda: {"records": [record_json(one) for one in records], "next": following or None},
        "no changes",
        more if following else "",
    )
    say_list(answer, session.listing)


def _read(
    session: Session, fleet: str, host: str, limit: int, before: int, change: str
) -> tuple[list[cluster.AuditRecord], int]:
    """Newest first, and what to give as `before` for the next ones; 0: that was all."""
    connection = session.cluster
    from fleet.v1 import cluster_pb2

    records: list[cluster.AuditRecord] = []
    while True:
        left = limit - len(records)
        request = cluster_pb2.HistoryRequest(
            fleet=fleet, host=host, before=before, limit=PAGE if change else min(PAGE, left)
        )
        answer = connection.call(lambda stub: stub.History, request)
        # Controllers do not choose by it.
        chosen = [one for one in answer.records if not change or one.change_id == change]
        records += chosen[:left]
        before = chosen[left - 1].id if len(chosen) > left else answer.next
        if not before or len(records) >= limit:
            return records, before
