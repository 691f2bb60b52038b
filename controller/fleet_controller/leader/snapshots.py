"""Snapshots that decisions are made from: the store's mirror, with what agents report."""

from __future__ import annotations

from fleet_controller.agents.link import Link
from fleet_controller.agents.links import Links
from fleet_controller.core.model import ClusterView, Health, HostRecord, HostView, RolloutState
from fleet_controller.mirror.state import NOTHING, ClusterState
from fleet_controller.observed.reports import Observed


def cluster_view(state: ClusterState, observed: Observed, links: Links) -> ClusterView:
    """All of it."""
    return ClusterView(
        state.stamp,
        {
            one: host_view(one, record, state, observed, links)
            for one, record in state.hosts.items()
        },
        dict(state.fleets),
        dict(state.specs),
        dict(state.rollouts),
        {
            uid: observed.standing(uid)
            for uid, rollout in state.rollouts.items()
            if rollout.state is RolloutState.RUNNING
        },
        frozenset(state.gone),
    )


def host_view(
    host_id: str, record: HostRecord, state: ClusterState, observed: Observed, links: Links
) -> HostView:
    """One host of it, which has this record."""
    seen = observed.host(host_id)
    return HostView(
        record,
        state.assignments.get(host_id, NOTHING),
        _reachable(links.links.get(host_id)),
        seen.released,
        seen.orphans,
        tuple((uid, birth, have) for (uid, _, birth), have in seen.prepared.items()),
    )


def _reachable(link: Link | None) -> bool:
    """A host that was not dialled yet gets the benefit of the doubt."""
    return link is not None and (link.health is Health.LIVE or not link.tried)
