"""What a plan means, in sentences: which VMs it concerns, when, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fleet_controller.core.fleet_plans.model import Effect, FleetPlan
from fleet_controller.core.model import RolloutRecord

_MOST = 5  # generations that a sentence names


def created(name: str, *, scheduled: bool) -> str:
    """Of a fleet that is not there yet."""
    starts = f"'fleetctl scale {name} --total NUMBER' starts them"
    if scheduled:
        starts += ", or the next point of its schedule"
    return f"it is made without VMs: {starts}"


def deleted(name: str, placed: int) -> str:
    """Of a fleet that no file names."""
    them = f", and {_vms(placed)} with it" if placed else ""
    return f"no file names it: {name} is deleted{them}"


def changed(plan: FleetPlan, older: Sequence[int], rollout: RolloutRecord | None) -> Iterator[str]:
    """Of a fleet that is there. `older`: generations, besides the present one and the next, that
    get the settings too."""
    if plan.effect is Effect.NOTHING:
        yield "nothing is otherwise"
        if rollout is not None and rollout.open:
            yield (
                f"its rollout to generation {rollout.to_generation} is {rollout.state.words}: "
                f"further VMs are made of generation {plan.generation}"
            )
        return
    if plan.generation != plan.from_generation:
        yield _generation(plan)
        yield from _left_alone(plan)
        if rollout is not None and rollout.open:
            yield (
                f"its rollout to generation {rollout.to_generation} is {rollout.state.words}: "
                "it stays what it is"
            )
    yield from _settings(plan)
    if older:
        yield f"{_generations(older)} {'has' if len(older) == 1 else 'have'} these settings too"
    if plan.generation == plan.from_generation and not plan.fields and not older:
        yield "it differs in what this controller does not know"


def _generation(plan: FleetPlan) -> str:
    again = " again, which has this template" if plan.returns else ""
    return f"VMs created from now on are made of generation {plan.generation}{again}"


def _left_alone(plan: FleetPlan) -> Iterator[str]:
    others = {g: placed for g, (placed, _) in plan.counts.items() if g != plan.generation}
    if have := plan.counts.get(plan.generation, (0, 0))[0]:
        yield f"{_vms(have)} {_verb(have)} of it already"
    if count := sum(others.values()):
        goes = "goes on as it is" if count == 1 else "go on as they are"
        yield (
            f"{_vms(count)} of {_generations(sorted(others))} {goes}, until 'fleetctl rollout "
            f"start {plan.fleet}'"
        )


def _settings(plan: FleetPlan) -> Iterator[str]:
    """Settings make no generation: what each section of them means for VMs that there are."""
    sections = dict.fromkeys(one.field.partition(".")[0] for one in plan.fields if one.setting)
    if not sections:
        return
    placed = sum(count for count, _ in plan.counts.values())
    if plan.generation == plan.from_generation:
        yield "it makes no generation: no VM is stopped, moved or made anew"
    for section in sections:
        match section:
            case "placement":
                yield "placement holds for VMs that are placed from now on"
                if plan.misplaced:
                    stay = "stays" if plan.misplaced == 1 else "stay"
                    beyond = f"{_vms(plan.misplaced)} {stay} where it would put none"
                    yield f"{beyond}, until 'fleetctl rebalance {plan.fleet} --apply'"
            case "readiness":
                yield "readiness holds for VMs that start from now on: what runs goes on running"
            case "schedule":
                yield "its schedule holds from its next point on: until then the total stays"
            case "admission":
                yield "admission holds for starts from now on"
            case _:
                yield f"{section} holds at once, for all {_vms(placed)}"


def _generations(numbers: Sequence[int]) -> str:
    some = ", ".join(map(str, numbers[:_MOST]))
    more = f" and {len(numbers) - _MOST} more" if len(numbers) > _MOST else ""
    return f"generation{'s' if len(numbers) > 1 else ''} {some}{more}"


def _vms(count: int) -> str:
    return f"{count:,} VM{'' if count == 1 else 's'}"


def _verb(count: int) -> str:
    return "is" if count == 1 else "are"
