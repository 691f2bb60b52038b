"""Everything that can be done to a simulated world: what operators ask, and what goes wrong.

One row of ACTIONS an action. It is drawn as often as its weight says, with a time, a length and
two numbers in [0, 1) from which it takes whom it hits and how hard. It returns how it ends, if
it lasts. An action works whatever others are under way, and leaves nothing behind once it has
ended: a play is repeated with some of its actions left out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import partial
from random import Random

from tests.simulation.doubles.lies.table import LIES
from tests.simulation.faults import asking, breaking, cutting, lying
from tests.simulation.faults.acts import Act, Action

ACTIONS: tuple[Action, ...] = (
    Action("scale", 10.0, 0.0, asking.scale),
    Action("change_mind", 4.0, 0.0, asking.change_mind),
    Action("scale_other", 3.0, 0.0, asking.scale_other),
    Action("delete", 1.0, 0.0, asking.delete),
    Action("generation", 1.0, 0.0, asking.generation),
    Action("cordon", 2.0, 0.0, asking.cordon),
    Action("drain", 2.0, 90.0, asking.drain, shortest=2.0),
    Action("control", 2.0, 0.0, asking.control),
    Action("roll_out", 1.5, 0.0, asking.roll_out),
    Action("declare_lost", 2.0, 0.0, asking.declare_lost),
    Action("remove", 2.0, 0.0, asking.remove),
    Action("release_breaker", 0.5, 0.0, asking.release_breaker),
    Action("kill_agent", 5.0, 0.0, breaking.kill_agent),
    Action("kill_agents", 1.0, 0.0, breaking.kill_agents),
    Action("stop_agent", 2.0, 60.0, breaking.stop_agent),
    Action("kill_controller", 4.0, 0.0, breaking.kill_controller),
    Action("stop_controller", 4.0, 30.0, breaking.stop_controller, shortest=5.0),
    Action("controller_down", 2.0, 60.0, breaking.controller_down),
    Action("jump_clock", 1.0, 10.0, breaking.jump_clock),
    Action("reboot", 3.0, 60.0, breaking.reboot),
    Action("host_away", 2.0, 200.0, breaking.reboot, shortest=40.0),
    Action("reboot_rack", 0.5, 60.0, breaking.reboot_rack),
    Action("lose_ledger", 1.0, 0.0, breaking.lose_ledger),
    Action("fill_ledger", 1.0, 40.0, breaking.fill_ledger),
    Action("steps_fail", 2.0, 40.0, breaking.steps_fail),
    Action("steps_lie", 2.0, 40.0, breaking.steps_lie),
    Action("steps_hang", 1.0, 40.0, breaking.steps_hang),
    Action("slow_drivers", 2.0, 40.0, breaking.slow_drivers),
    Action("no_driver", 1.0, 40.0, breaking.no_driver),
    Action("full_pool", 1.0, 40.0, breaking.full_pool),
    Action("vms_die", 2.0, 0.0, breaking.vms_die),
    Action("cut_host", 4.0, 200.0, cutting.cut_host),
    Action("cut_from_leader", 3.0, 200.0, cutting.cut_from_leader, shortest=70.0),
    Action("cut_rack", 1.0, 60.0, cutting.cut_rack),
    Action("cut_controller", 1.5, 60.0, cutting.cut_controller),
    Action("split", 2.0, 60.0, cutting.split),
    Action("cut_from_store", 2.0, 30.0, cutting.cut_from_store),
    Action("storm", 2.0, 30.0, cutting.storm),
    Action("store_storm", 4.0, 60.0, cutting.store_storm),
    Action("hold_back", 4.0, 40.0, cutting.hold_back, shortest=5.5),
    Action("store_down", 1.0, 40.0, cutting.store_down),
    Action("set_back", 0.5, 20.0, cutting.set_back),
    Action("watch_lags", 1.0, 30.0, cutting.watch_lags),
    Action("compact", 1.0, 0.0, cutting.compact),
    Action("lease_ends", 1.0, 0.0, cutting.lease_ends),
)
# Drawn apart from the rest, so that a play is what it was but for them: a few of the lies that the
# product withstands, or, where a play is to stress it, any one lie.
TURN = Action("turn_hostile", 0.0, 110.0, lying.turn_hostile, shortest=15.0)
LYING = {
    TURN.name: TURN,
    **{name: replace(TURN, name=name, does=partial(lying.tell, name)) for name in LIES},
}
EXPEL = Action("expel", 0.0, 110.0, asking.expel, shortest=15.0)
SETTINGS = Action("settings", 0.0, 0.0, asking.settings)
REBALANCE = Action("rebalance", 0.0, 60.0, asking.rebalance, shortest=2.0)
TIDES = Action("tides", 0.0, 0.0, asking.tides)
WRONG_TIME = Action("wrong_time", 0.0, 60.0, breaking.wrong_time, shortest=2.0)
CANARY = Action("canary", 0.0, 90.0, asking.canary, shortest=5.0)
APART = (EXPEL, SETTINGS, REBALANCE, TIDES, WRONG_TIME, CANARY)
BY_NAME = {action.name: action for action in (*ACTIONS, *LYING.values(), *APART)}
# How often hosts turn hostile a simulated minute: in half of all plays never.
LYING_PER_MINUTE = (0.0, 0.0, 0.5, 1.5)
LYING_STRESS = 6.0
# How often a host is expelled for a while, a simulated minute.
EXPELLING_PER_MINUTE = (0.0, 0.0, 0.3)
EXPELLING_STRESS = 3.0
# How often a fleet gets other settings, a simulated minute.
SETTINGS_PER_MINUTE = (0.0, 0.0, 0.5, 2.0)
SETTINGS_STRESS = 6.0
# How often a fleet is rebalanced, a simulated minute.
REBALANCES_PER_MINUTE = (0.0, 0.0, 0.5, 2.0)
REBALANCES_STRESS = 6.0
# How often something is said of a total that changes by time, and how often a controller's time of
# day is wrong for a while, a simulated minute.
TIDES_PER_MINUTE = (0.0, 0.0, 0.5, 2.0)
TIDES_STRESS = 3.0
# How often a generation is rolled out with canaries first, a simulated minute.
CANARIES_PER_MINUTE = (0.0, 0.0, 0.5, 1.0)
CANARIES_STRESS = 3.0
# Actions a simulated minute. A play has its own: some are calm between, some never.
PER_MINUTE = (8.0, 16.0, 32.0)
# What an action's weight is multiplied by in one play: most plays lack most kinds of trouble and
# have much of the others, which finds more than a little of everything in each.
EMPHASIS = (0.0, 0.0, 1.0, 4.0)


# And that of the actions a play is to stress.
STRESS = 30.0


def schedule(seed: str, minutes: float, stress: Collection[str] = ()) -> list[Act]:
    """The actions of a play. A scale comes first, so that there is something to lose.

    `stress`: names of actions that there are to be many of; then many of all.
    """
    random = Random(f"{seed}/schedule")
    weights = [one.weight * random.choice(EMPHASIS) for one in ACTIONS]
    weights[0] = ACTIONS[0].weight * random.choice((0.2, 1.0, 1.0))
    rate = random.choice(PER_MINUTE) / 60.0
    if set(stress) - LYING.keys() - {one.name for one in APART}:
        weights = [
            STRESS if action.name in stress else weight
            for action, weight in zip(ACTIONS, weights, strict=True)
        ]
        rate = max(PER_MINUTE) / 60.0
    acts = [Act(0.0, "scale", 0.0, 0.0, random.uniform(0.3, 0.9))]
    at = 0.0
    while (at := at + random.expovariate(rate)) < minutes * 60.0:
        (action,) = random.choices(ACTIONS, weights)
        seconds = action.shortest + (action.longest - action.shortest) * random.random() ** 2
        acts.append(Act(at, action.name, seconds, random.random(), random.random()))
    lying = _lying(seed, minutes, [name for name in stress if name in LYING])
    expelling = _expelling(seed, minutes, stressed=EXPEL.name in stress)
    settings = _settings(seed, minutes, stressed=SETTINGS.name in stress)
    rebalances = _rebalances(seed, minutes, stressed=REBALANCE.name in stress)
    tides = _tides(seed, minutes, stress)
    canaries = _canaries(seed, minutes, stressed=CANARY.name in stress)
    return [*acts, *lying, *expelling, *settings, *rebalances, *tides, *canaries]


def _lying(seed: str, minutes: float, stressed: Sequence[str]) -> Iterator[Act]:
    """When hosts turn hostile: one time ends before the next begins."""
    random = Random(f"{seed}/lying")
    rate = (LYING_STRESS if stressed else random.choice(LYING_PER_MINUTE)) / 60.0
    at = 0.0
    while rate and (at := at + random.expovariate(rate)) < minutes * 60.0:
        seconds = TURN.shortest + (TURN.longest - TURN.shortest) * random.random() ** 2
        what = random.choice(stressed or [TURN.name])
        yield Act(at, what, seconds, random.random(), random.random())
        at += seconds


def _expelling(seed: str, minutes: float, *, stressed: bool) -> Iterator[Act]:
    """Drawn apart as well. Several may be out at once."""
    random = Random(f"{seed}/expelling")
    rate = (EXPELLING_STRESS if stressed else random.choice(EXPELLING_PER_MINUTE)) / 60.0
    at = 0.0
    while rate and (at := at + random.expovariate(rate)) < minutes * 60.0:
        seconds = EXPEL.shortest + (EXPEL.longest - EXPEL.shortest) * random.random() ** 2
        yield Act(at, EXPEL.name, seconds, random.random(), random.random())


def _settings(seed: str, minutes: float, *, stressed: bool) -> Iterator[Act]:
    """Drawn apart as well."""
    random = Random(f"{seed}/settings")
    rate = (SETTINGS_STRESS if stressed else random.choice(SETTINGS_PER_MINUTE)) / 60.0
    at = 0.0
    while rate and (at := at + random.expovariate(rate)) < minutes * 60.0:
        yield Act(at, SETTINGS.name, 0.0, random.random(), random.random())


def _rebalances(seed: str, minutes: float, *, stressed: bool) -> Iterator[Act]:
    """Drawn apart as well."""
    random = Random(f"{seed}/rebalances")
    rate = (REBALANCES_STRESS if stressed else random.choice(REBALANCES_PER_MINUTE)) / 60.0
    at = 0.0
    while rate and (at := at + random.expovariate(rate)) < minutes * 60.0:
        seconds = REBALANCE.shortest + (REBALANCE.longest - REBALANCE.shortest) * random.random()
        yield Act(at, REBALANCE.name, seconds, random.random(), random.random())


def _tides(seed: str, minutes: float, stress: Collection[str]) -> Iterator[Act]:
    """Drawn apart as well: of the two either one."""
    random = Random(f"{seed}/tides")
    stressed = [one for one in (TIDES, WRONG_TIME) if one.name in stress]
    rate = (TIDES_STRESS if stressed else random.choice(TIDES_PER_MINUTE)) / 60.0
    at = 0.0
    while rate and (at := at + random.expovariate(rate)) < minutes * 60.0:
        what = random.choice(stressed or [TIDES, TIDES, WRONG_TIME])
        seconds = what.shortest + (what.longest - what.shortest) * random.random() ** 2
        yield Act(at, what.name, seconds, random.random(), random.random())


def _canaries(seed: str, minutes: float, *, stressed: bool) -> Iterator[Act]:
    """Drawn apart as well. One may begin before the one before it has ended, and is refused."""
    random = Random(f"{seed}/canaries")
    rate = (CANARIES_STRESS if stressed else random.choice(CANARIES_PER_MINUTE)) / 60.0
    at = 0.0
    while rate and (at := at + random.expovariate(rate)) < minutes * 60.0:
        seconds = CANARY.shortest + (CANARY.longest - CANARY.shortest) * random.random() ** 2
        yield Act(at, CANARY.name, seconds, random.random(), random.random())
