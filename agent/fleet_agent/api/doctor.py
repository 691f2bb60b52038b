"""Doctor and Tune on the wire: messages in, messages out."""

from __future__ import annotations

from fleet.v1 import agent_pb2 as wire
from fleet_agent.core.limits.met import LimitMet
from fleet_agent.core.limits.verdicts import MOST_GUESTS, NO_BOUND, Verdict
from fleet_agent.dom0.doctor import Doctor, Examination, TuneMode
from fleet_agent.dom0.tuner import Outcome


class BadRequest(Exception):
    """The request contradicts itself, or asks for more than there can be; one sentence."""


class HostBusy(Exception):
    """The host did not answer in time; one sentence."""


async def examine(doctor: Doctor, request: wire.DoctorRequest) -> wire.DoctorResponse:
    """Raises BadRequest, HostBusy."""
    _check_guests(request.guests)
    try:
        return examination_message(await doctor.examine(request.guests))
    except TimeoutError as error:
        raise _busy() from error


async def tune(doctor: Doctor, request: wire.TuneRequest) -> wire.TuneResponse:
    """Raises BadRequest, HostBusy, TuningError."""
    _check_guests(request.guests)
    wish = wish_of(request)
    try:
        outcomes = await doctor.tune(request.guests, wish)
        answer = wire.TuneResponse(changes=[outcome_message(one) for one in outcomes])
        if wish is not TuneMode.PLAN:
            after = await doctor.examine(request.guests, logs=False)
            answer.after.CopyFrom(examination_message(after))
        return answer
    except TimeoutError as error:
        raise _busy() from error


def changes_something(request: wire.TuneRequest) -> bool:
    return request.apply or request.undo


def wish_of(request: wire.TuneRequest) -> TuneMode:
    """Raises BadRequest."""
    if request.apply and request.undo:
        raise BadRequest("a tuning either applies or undoes")
    return TuneMode.APPLY if request.apply else TuneMode.UNDO if request.undo else TuneMode.PLAN


def _check_guests(guests: int) -> None:
    if guests > MOST_GUESTS:
        raise BadRequest(f"{guests} guests are more than any host is judged for ({MOST_GUESTS})")


def _busy() -> HostBusy:
    return HostBusy("the host did not tell its limits in time; it may be very busy")


def examination_message(one: Examination) -> wire.DoctorResponse:
    bound = one.binding
    return wire.DoctorResponse(
        verdicts=[verdict_message(verdict) for verdict in one.verdicts],
        guests=one.guests,
        admits_guests=min(one.admits, NO_BOUND),
        binding_limit=bound.limit.name if bound else "",
        summary=one.summary,
        met=[met_message(met) for met in one.met],
    )


def verdict_message(one: Verdict) -> wire.LimitVerdict:
    remedy = one.remedy
    change = remedy.line if remedy else ""
    if remedy and remedy.then:
        change += f"\n# then {remedy.then}"
    return wire.LimitVerdict(
        limit=one.limit.name,
        value=one.value,
        needed=one.needed,
        verdict=wire.LimitVerdict.Verdict.ValueType(one.standing),
        change=change,
        admits_guests=one.admits,
        file=remedy.file if remedy else "",
        title=one.limit.title,
        source=one.limit.source,
        advisory=one.limit.advisory,
    )


def met_message(one: LimitMet) -> wire.LimitMet:
    return wire.LimitMet(limit=one.limit, line=one.line, where=one.where, meaning=one.meaning)


def outcome_message(one: Outcome) -> wire.TuneChange:
    return wire.TuneChange(
        limit=one.change.limit,
        kind=wire.TuneChange.Kind.ValueType(one.change.kind),
        what=one.change.what,
        before=one.before,
        after=one.change.after,
        done=one.done,
        error=one.error,
    )
