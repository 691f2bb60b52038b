"""How many VMs at once: no more are moved than asked for, no more are down for a rollout, and no
more than its canaries are changed before it is promoted."""

from __future__ import annotations

from collections.abc import Sequence

from fleet.keys import Kin
from fleet.ranges import EMPTY, IndexSet
from fleet_agent.core.model import Batch, StepKind
from fleet_controller.core.model import (
    Assignment,
    FleetRecord,
    RolloutRecord,
    RolloutState,
    Shard,
)
from fleet_controller.store.codec import decode
from fleet_controller.store.port import Change
from tests.simulation.doubles.witness import Witness
from tests.simulation.engine.trace import Fail
from tests.simulation.rules.store_view import NOTHING, StoreView

_RESTING = (RolloutState.HELD, RolloutState.PAUSED)
_JUDGED = (RolloutState.RUNNING, RolloutState.CANARY, *_RESTING)


class AtOnce(Witness):
    """Hears every revision, after the view of the store has, and every start of a VM."""

    def __init__(self, store: StoreView, moves_at_once: int, fail: Fail) -> None:
        self._store = store
        self._most_moves = moves_at_once
        self._fail = fail
        self._rollouts: dict[str, RolloutRecord] = {}  # by fleet uid
        self._before: dict[str, Assignment] = {}  # by host, as of the revision before
        self._moving = 0
        # VMs that have been started since they were born, by (fleet uid, birth).
        self._started: dict[tuple[str, int], IndexSet] = {}
        # VMs that were born there because somebody wants them made anew with the generation that
        # they have: they are no rollout's.
        self._remade: dict[tuple[str, int], IndexSet] = {}

    def vms_started(self, host: str, kin: Kin, indices: IndexSet) -> None:
        key = (kin.fleet_uid, kin.birth)
        self._started[key] = self._started.get(key, EMPTY) | indices

    def step_faked(self, host: str, kind: StepKind, batch: Batch, indices: IndexSet) -> None:
        if kind is StepKind.AWAIT_READY:
            self.vms_started(host, batch.kin, indices)  # as far as anybody can know

    def record_restored(self, change: Change) -> None:
        self.revision_written(change.mod_revision, [change])

    def revision_written(self, revision: int, changes: Sequence[Change]) -> None:
        moved = []
        for change in changes:
            kind, _, rest = change.key.partition("/")
            if kind == "rollouts":
                self._take_rollout(rest, change)
            elif kind == "assignments":
                moved.append(rest)
        if not moved or self._store.frozen:
            return
        self._check_moves()
        for host in moved:
            self._note_remade(host)
        for uid, record in self._rollouts.items():
            self._check_rollout(uid, record, moved)
        for host in moved:
            self._before[host] = self._store.assignments.get(host, NOTHING)

    def store_set_back(self) -> None:
        self._rollouts.clear()

    def changes_thawed(self) -> None:
        """What hosts have now is what a recovery has given them."""
        self._before = dict(self._store.assignments)
        self._moving = self._count_moves()

    def _take_rollout(self, uid: str, change: Change) -> None:
        if change.value is None:
            self._rollouts.pop(uid, None)
        else:
            record = decode(RolloutRecord, change.key, change.value)
            if record.state is RolloutState.DONE and not self._store.frozen:
                self._check_end(uid, record)
            self._rollouts[uid] = record

    # Moves ----------------------------------------------------------------------------------

    def _check_moves(self) -> None:
        """Only when one more begins: what is under way is not ended for a smaller number."""
        before, self._moving = self._moving, self._count_moves()
        if self._moving > max(before, self._most_moves):
            self._fail("at once", f"{self._moving} VMs are staged, more than {self._most_moves}")

    def _count_moves(self) -> int:
        """Staged VMs that another still has, or is still to let go."""
        staged: dict[str, list[IndexSet]] = {}
        for assignment in self._store.assignments.values():
            for shard in assignment.shards:
                if shard.staged:
                    staged.setdefault(shard.fleet, []).append(shard.ranges)
        return sum(
            len(ranges & self._held(uid)) for uid, several in staged.items() for ranges in several
        )

    def _held(self, uid: str) -> IndexSet:
        fleet = self._store.fleet(uid)
        held = self._store.held.get(uid, EMPTY)
        return held & fleet.wanted if fleet is not None else EMPTY

    # Rollouts -------------------------------------------------------------------------------

    def _check_rollout(self, uid: str, record: RolloutRecord, moved: Sequence[str]) -> None:
        """Only when VMs are made anew for it."""
        renewed = [host for host in moved if self._is_renewed(host, uid, record.to_generation)]
        fleet = self._store.fleet(uid)
        if not renewed or fleet is None or record.state not in _JUDGED:
            return
        if record.state in _RESTING:
            self._fail("at once", f"VMs of {fleet.name} change while its rollout is {record.state}")
            return
        if record.state is RolloutState.CANARY:
            self._check_canaries(uid, record, fleet)
        down = IndexSet.union_of(
            (shard.ranges & fleet.wanted)
            - self._started.get((uid, shard.birth), EMPTY)
            - self._remade.get((uid, shard.birth), EMPTY)
            for assignment in self._store.assignments.values()
            for shard in assignment.shards
            if _is_changed(shard, uid, record)
        )
        most = record.max_unavailable or max(1, int(record.max_unavailable_share * fleet.total))
        if len(down) > most:
            self._fail(
                "at once",
                f"{len(down)} VMs of {fleet.name} are down for a rollout, more than {most}",
            )

    def _note_remade(self, host: str) -> None:
        was, now = self._before.get(host, NOTHING), self._store.assignments.get(host, NOTHING)
        for shard in now.shards:
            ran = IndexSet.union_of(
                one.ranges & self._started.get((one.fleet, one.birth), EMPTY)
                for one in was.shards
                if (one.fleet, one.generation) == (shard.fleet, shard.generation)
                and one.birth < shard.birth
            )
            if ran := ran & shard.ranges:
                key = (shard.fleet, shard.birth)
                self._remade[key] = self._remade.get(key, EMPTY) | ran

    def _check_canaries(self, uid: str, record: RolloutRecord, fleet: FleetRecord) -> None:
        """Whoever made them: no more VMs than the canaries are of the new generation once one more
        has become so."""
        new = IndexSet.union_of(
            shard.ranges & fleet.wanted
            for assignment in self._store.assignments.values()
            for shard in assignment.shards
            if shard.fleet == uid and shard.generation == record.to_generation
        )
        most = record.canaries or max(1, int(record.canary_share * fleet.total))
        if len(new) > most:
            self._fail("at once", f"{len(new)} VMs of {fleet.name} are canaries, not {most}")

    def _check_end(self, uid: str, record: RolloutRecord) -> None:
        """Once it is done, also where it undoes another, no VM is left behind; but for what was
        applied since, and what lost hosts had."""
        fleet = self._store.fleet(uid)
        if fleet is None:
            return
        left = IndexSet.union_of(
            shard.ranges & fleet.wanted
            for host, assignment in self._store.assignments.items()
            for shard in assignment.shards
            if shard.fleet == uid and not shard.staged and host not in self._store.ever_lost
            if shard.generation not in (record.to_generation, fleet.generation)
        )
        if left:
            self._fail("at once", f"{left} of {fleet.name} are left behind by its rollout")

    def _is_renewed(self, host: str, uid: str, generation: int) -> bool:
        """Whether VMs that were there have become others of this generation."""
        was, now = self._before.get(host, NOTHING), self._store.assignments[host]
        old = (s.ranges for s in was.shards if s.fleet == uid and s.generation != generation)
        new = (s.ranges for s in now.shards if s.fleet == uid and s.generation == generation)
        return bool(IndexSet.union_of(old) & IndexSet.union_of(new))


def _is_changed(shard: Shard, uid: str, record: RolloutRecord) -> bool:
    return (
        shard.fleet == uid
        and shard.generation == record.to_generation
        and shard.birth >= record.since_revision
        and shard.power
        and not shard.staged
    )
