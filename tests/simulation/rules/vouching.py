"""Vouched for: no host is lost by time that a standby could reach, and could tell the leader so,
for as long as an answer may be the ground of a verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from fleet_controller.core.model import HostRecord
from fleet_controller.host_loss.standby_poll import ANSWER_SECONDS
from fleet_controller.observed.standby_reachability import CONFIRMED_SECONDS
from tests.simulation.doubles.controllers import Controller
from tests.simulation.doubles.liars import Liars
from tests.simulation.doubles.machine import Machine
from tests.simulation.doubles.operator import Operator
from tests.simulation.doubles.witness import Witness
from tests.simulation.engine.trace import Fail
from tests.simulation.rules.troubles import Troubles

# From when a standby is asked until the verdict that rests on its answer is written, where the
# store is well; and how long a transaction may be on its way when it was not (hold_back).
SPAN_SECONDS = ANSWER_SECONDS + CONFIRMED_SECONDS + 5.0
HELD_SECONDS = 45.0
Lives = tuple[str, str, str]  # processes: a leader's, a standby's, and the agent's between them


class VouchedFor(Witness):
    """Looks every second, and hears of verdicts."""

    def __init__(
        self,
        clock: Callable[[], float],
        controllers: Sequence[Controller],
        machines: Mapping[str, Machine],
        operator: Operator,
        troubles: Troubles,
        liars: Liars,
        fail: Fail,
    ) -> None:
        self._clock = clock
        self._controllers = controllers
        self._machines = machines
        self._operator = operator
        self._troubles = troubles
        self._liars = liars
        self._fail = fail
        self._since: dict[Lives, float] = {}  # since when the standby could vouch
        self._store_trouble = clock()  # when last

    def look(self) -> None:
        now, troubles = self._clock(), self._troubles
        if not troubles.store_is_calm:
            self._store_trouble = now
        calm = troubles.network_is_calm
        self._since = {
            lives: self._since.get(lives, now)
            for leader in self._controllers
            for standby in self._controllers
            if calm and leader is not standby and self._are_joined(leader, standby)
            for machine in self._machines.values()
            if self._reaches(standby, machine)
            for lives in [_lives(leader, standby, machine)]
        }

    def verdict_written(self, record: HostRecord, lost: bool) -> None:
        if lost and record.id not in self._operator.declared:
            self._on_lost_by_time(record.id)

    def _on_lost_by_time(self, host: str) -> None:
        """By whoever leads; a leader that was superseded may still believe that it does. One that
        lies may say nothing to whoever asks."""
        if host in self._liars.ever:
            return
        if self._clock() - self._store_trouble < HELD_SECONDS:
            return
        leaders = [one for one in self._controllers if one.leading() is not None]
        able = [self._able(leader, host) for leader in leaders]
        if able and all(able):
            self._fail("vouched for", f"{host} is lost by time, and {able[0][0]} could reach it")

    def _able(self, leader: Controller, host: str) -> list[str]:
        """The standbys that could have vouched for the host, up to now."""
        now, machine = self._clock(), self._machines[host]
        return [
            standby.name
            for standby in self._controllers
            if self._are_joined(leader, standby) and self._reaches(standby, machine)
            if now - self._since.get(_lives(leader, standby, machine), now) > SPAN_SECONDS
            if now - self._troubles.last_cut(leader.name, standby.name, host) > SPAN_SECONDS
        ]

    def _are_joined(self, leader: Controller, standby: Controller) -> bool:
        joined = self._troubles.are_joined(leader.name, standby.name)
        return leader.runs and standby.runs and joined

    def _reaches(self, standby: Controller, machine: Machine) -> bool:
        serves = machine.agent is not None and machine.runs
        return serves and self._troubles.are_joined(standby.name, machine.id)


def _lives(leader: Controller, standby: Controller, machine: Machine) -> Lives:
    return (leader.life, standby.life, machine.process.name if machine.process else "")
