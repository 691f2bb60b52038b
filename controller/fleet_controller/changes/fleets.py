"""Changes of fleets that people ask for: applied, scaled, deleted."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import msgspec

from fleet.v1 import types_pb2 as types
from fleet_controller.change_id import change_id
from fleet_controller.changes.schedule_writes import schedule_applied, schedule_scaled
from fleet_controller.core import changes
from fleet_controller.core.fleet_plans.model import Known, Plans
from fleet_controller.core.fleet_plans.plans import Asked, plan_fleets
from fleet_controller.core.fleet_plans.tokens import check_token, fleet_token
from fleet_controller.core.model import FleetRecord
from fleet_controller.core.names import some_of
from fleet_controller.core.people.changes import with_owners
from fleet_controller.core.people.quotas import check_growth
from fleet_controller.core.placement.enough_room import EnoughRoom
from fleet_controller.core.refusals import named_fleet
from fleet_controller.core.schedules.orders import check_seconds, largest_total
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.leader.off_loop import OffLoop
from fleet_controller.leader.planner import Planner
from fleet_controller.leader.wake import PlannerWake
from fleet_controller.leader.writer import ChangeWriter
from fleet_controller.mirror.records import Write, put_assignments, put_fleet, put_meta, put_spec

FitCheck = Callable[[changes.Application, types.FleetSpec], None]


class FleetChanges:
    """Of one leadership. All raise Refused and StoreError."""

    def __init__(
        self,
        memory: LeaderMemory,
        writer: ChangeWriter,
        planner: Planner,
        wake: PlannerWake,
        off_loop: OffLoop,
        new_uid: Callable[[], str],
    ) -> None:
        self._memory = memory
        self._writer = writer
        self._planner = planner
        self._wake = wake
        self._off_loop = off_loop
        self._new_uid = new_uid

    async def apply(
        self, name: str, spec: types.FleetSpec, actor: str, *, owner: str = "", token: str = ""
    ) -> changes.Application:
        """Make the fleet, give it another template, or other settings. `owner`: whose a new one
        is. `token`: of a plan that was shown."""

        async def once() -> changes.Application:
            state = self._memory.state
            state.broken.refuse_fleet(name)
            have = state.fleets.get(name)
            check_token(token, fleet_token(name, have, state.spec_of(have), spec))
            decided = changes.apply_fleet(
                state.fleets, state.specs, state.meta, name, spec, actor,
                self._new_uid(), self._memory.links.all_live, owner, state.rollouts,
            )  # fmt: skip
            self.check_growth(decided.fleet, decided.specs.get(decided.fleet.generation))
            if decided.matters and spec.HasField("schedule"):
                revision, fits = state.revision, fit_check(self._memory)
                await self._off_loop.run(lambda: fits(decided, spec))
                self._writer.refuse_if_past(revision)
            if decided.writes:
                await self._write_applied(decided, spec, actor)
            return decided

        decided = await self._writer.decide(once)
        if decided.matters:
            self._event("fleet_applied", f"fleet {name} {_applied(decided)}", name, actor)
            self._wake.urge()
        return decided

    async def _write_applied(
        self, decided: changes.Application, spec: types.FleetSpec, actor: str
    ) -> None:
        """The fleet's record last: until it is there nothing has changed that is looked at."""
        fleet, state = decided.fleet, self._memory.state
        specs: list[Write] = [
            put_spec(fleet.uid, generation, one) for generation, one in decided.specs.items()
        ]
        record: list[Write] = [put_fleet(_labelled(fleet))]
        if decided.meta:
            record.append(put_meta(decided.meta))
        record += schedule_applied(state, decided, spec, actor, self._memory.events.now())
        after = f"generation {fleet.generation}"
        if decided.settings:
            after += f"; {_fields(decided)}"
        record.append(self._writer.audited("apply", actor, fleet=fleet.name, after=after))
        if len(self._writer.first_part([*specs, *record])) == len(specs) + len(record):
            await self._writer.write_one([*specs, *record])
        else:
            await self._writer.write(specs)
            await self._writer.write_one(record)

    async def plan_files(
        self, known: Known, asked: Asked, *, prune: bool, others: Collection[str]
    ) -> Plans:
        """What applying all of these would do; nothing is written."""

        state = self._memory.state
        scheduled = any(
            spec.HasField("schedule") and spec != state.spec_of(state.fleets.get(name))
            for name, spec in asked
        )
        fits = fit_check(self._memory) if scheduled else None

        def made() -> Plans:
            for name, spec in asked:
                changes.check_given(name, spec)
            return plan_fleets(known, asked, prune=prune, others=others, check=fits)

        return await self._off_loop.run(made)

    async def plan(self, name: str, total: int, actor: str) -> changes.Scaling:
        """What a scale would do; nothing is written."""
        view = self._memory.view()
        return await self._off_loop.run(lambda: changes.scale(view, name, total, actor))

    async def scale(
        self,
        name: str,
        total: int,
        actor: str,
        *,
        partial: bool = False,
        token: str = "",
        seconds: int = 0,
    ) -> changes.Scaling:
        """Set the total; `seconds`: for so long. The first transaction carries it, and as much of
        the placement as fits; the planner writes the rest."""
        check_seconds(seconds)
        for_so_long = f" for {seconds:,} s" if seconds else ""
        after = f"{total:,}{for_so_long}" if seconds else str(total)

        async def once() -> changes.Scaling:
            revision = self._memory.state.revision
            scaling = await self.plan(name, total, actor)
            changes.check_scale(scaling, partial, token)
            self._writer.refuse_if_past(revision)
            line = self._writer.audited(
                "scale", actor, fleet=scaling.fleet.name,
                before=str(scaling.before.total), after=after,
            )  # fmt: skip
            now = self._memory.events.now()
            schedule = schedule_scaled(self._memory.state, scaling.before, actor, now, seconds)
            await self.write_scaling(scaling, [*schedule, line])
            return scaling

        scaling = await self._writer.decide(once)
        text = f"fleet {scaling.fleet.name}: {scaling.before.total:,} -> {total:,} VMs{for_so_long}"
        self._event("fleet_scaled", text, scaling.fleet.name, actor)
        self._wake.urge()
        return scaling

    async def write_scaling(self, scaling: changes.Scaling, beside: Sequence[Write]) -> None:
        """A scale that was decided from the present state, with what is written beside it. Raises
        Refused where its owners would own more than they may."""
        self.check_growth(scaling.fleet)
        writes: list[Write] = [put_fleet(_labelled(scaling.fleet)), *beside]
        if self._planner.plans_freely:
            writes += put_assignments(scaling.placement.assignments)
        await self._writer.write_one(self._writer.first_part(writes))
        self._planner.adopt(scaling.placement.fleets)

    async def delete(self, name: str, actor: str, *, token: str = "") -> FleetRecord:
        """Take every VM away, then the fleet. `token`: of a plan that was shown."""

        async def once() -> FleetRecord:
            state = self._memory.state
            fleet = named_fleet(state.fleets, name)
            check_token(token, fleet_token(fleet.name, fleet, state.spec_of(fleet), None))
            gone = msgspec.structs.replace(fleet, total=0, deleting=True, changed_by=actor)
            line = self._writer.audited(
                "delete", actor, fleet=fleet.name, before=str(fleet.total), after="0"
            )
            await self._writer.write_one([put_fleet(_labelled(gone)), line])
            return gone

        fleet = await self._writer.decide(once)
        self._event("fleet_deleting", f"fleet {fleet.name} is being deleted", fleet.name, actor)
        self._wake.urge()
        return fleet

    async def set_owners(
        self, name: str, add: Collection[str], remove: Collection[str], actor: str
    ) -> tuple[FleetRecord, FleetRecord]:
        """The fleet before and after."""

        async def once() -> tuple[FleetRecord, FleetRecord]:
            state = self._memory.state
            before = named_fleet(state.fleets, name)
            fleet = with_owners(before, state.people, add, remove)
            if fleet.owners != before.owners:
                self.check_growth(fleet)
                line = self._writer.audited(
                    "owners", actor, fleet=fleet.name,
                    before=_names(before.owners), after=_names(fleet.owners),
                )  # fmt: skip
                fleet = msgspec.structs.replace(fleet, changed_by=actor)
                await self._writer.write_one([put_fleet(_labelled(fleet)), line])
            return before, fleet

        before, fleet = await self._writer.decide(once)
        if fleet.owners != before.owners:
            text = f"fleet {fleet.name} is owned by {_names(fleet.owners)}"
            self._event("fleet_owners", text, fleet.name, actor)
        return before, fleet

    def check_growth(self, after: FleetRecord, spec: types.FleetSpec | None = None) -> None:
        """Raises Refused where an owner would own more than he may."""
        state = self._memory.state
        check_growth(state.fleets, state.specs, after, state.people, state.roles, spec)

    def _event(self, kind: str, message: str, fleet: str, actor: str) -> None:
        self._memory.events.add(kind, message, fleet=fleet, actor=actor)


def fit_check(memory: LeaderMemory) -> FitCheck:
    """Whether the largest total of a schedule could be now, as far as capacity, addresses and what
    owners may own go: from a snapshot, on whatever thread. It raises Refused."""
    view, state = memory.view(), memory.state
    people, roles, room = dict(state.people), dict(state.roles), EnoughRoom(view)

    def check(done: changes.Application, spec: types.FleetSpec) -> None:
        largest = largest_total(spec)
        if largest and done.matters:
            after = msgspec.structs.replace(done.fleet, total=largest)
            check_growth(view.fleets, view.specs, after, people, roles, spec)
            changes.check_schedule(view, room, done, spec, largest)

    return check


def _names(owners: Collection[str]) -> str:
    return some_of(list(owners)) or "nobody"


def _labelled(fleet: FleetRecord) -> FleetRecord:
    return msgspec.structs.replace(fleet, change=change_id())


def _applied(decided: changes.Application) -> str:
    """What has become of the fleet, for an event."""
    fleet = decided.fleet
    if decided.created:
        return "created"
    told = []
    if decided.changed:
        again = " again" if decided.returned else ""
        told.append(f"has generation {fleet.generation}{again}")
    if decided.settings or not told:
        told.append(f"has other settings: {_fields(decided)}")
    return ", and ".join(told)


def _fields(decided: changes.Application) -> str:
    fields = [one.field for one in decided.settings]
    return ", ".join(fields) if fields else "of earlier generations"
