"""What a host's limits say, as JSON and as text. Pure: messages in, values out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from fleet.v1 import agent_pb2 as agent
from fleetctl.outcome import printable
from fleetctl.output import counted, number
from fleetctl.tables.listing import table

NO_BOUND = 2**32 - 1
VERDICTS = ("unspecified", "pass", "fixable", "needs_reboot", "not_applicable", "unknown")
PASS, FIXABLE, NEEDS_REBOOT, NOT_APPLICABLE, UNKNOWN = range(1, 6)
HEADERS = ("LIMIT", "FOUND", "NEEDED", "ADMITS")
WIDEST = 72  # of a cell that holds words of the host


def fits(answer: agent.DoctorResponse) -> bool:
    """Whether the density asked for stands within every limit that binds."""
    return not answer.binding_limit and answer.admits_guests >= answer.guests


def verdict_name(value: int) -> str:
    return VERDICTS[value] if 0 <= value < len(VERDICTS) else "unknown"


def doctor_json(answer: agent.DoctorResponse, host: str) -> dict[str, Any]:
    """`admits` is null where there is no bound."""
    return {
        "host": host or None,
        "guests": answer.guests,
        "admits": _bound(answer.admits_guests),
        "fits": fits(answer),
        "binding_limit": answer.binding_limit or None,
        "summary": answer.summary,
        "limits": [verdict_json(one) for one in answer.verdicts],
        "met": [
            {"limit": one.limit, "where": one.where, "line": one.line, "meaning": one.meaning}
            for one in answer.met
        ],
    }


def verdict_json(one: agent.LimitVerdict) -> dict[str, Any]:
    return {
        "limit": one.limit,
        "title": one.title,
        "verdict": verdict_name(one.verdict),
        "value": one.value,
        "needed": one.needed,
        "admits": _bound(one.admits_guests),
        "advisory": one.advisory,
        "change": one.change,
        "file": one.file,
        "source": one.source,
    }


def _bound(admits: int) -> int | None:
    return None if admits == NO_BOUND else admits


def doctor_words(answer: agent.DoctorResponse) -> str:
    """As short as hosts that agree say the same: 250 VMs fit; or what binds, and at how many."""
    if fits(answer):
        return f"{counted(answer.guests, 'VM')} fit"
    bound = f"admits {counted(answer.admits_guests, 'VM')} of {number(answer.guests)}"
    in_way = [one.title for one in answer.verdicts if one.limit == answer.binding_limit]
    return printable(f"{bound}: {in_way[0] if in_way else answer.binding_limit}")


def doctor_text(answer: agent.DoctorResponse, host: str, everything: bool) -> str:
    """What is in the way first, grouped by what to do; with `everything` also what is not."""
    return printable("\n".join(_doctor_lines(answer, host, everything)))


def _doctor_lines(answer: agent.DoctorResponse, host: str, everything: bool) -> Iterator[str]:
    yield answer.summary
    tune = f"fleetctl tune {host} --apply".replace("  ", " ")
    for verdict, title in (
        (NEEDS_REBOOT, "needs a reboot, or more:"),
        (FIXABLE, f"can be changed now ('{tune}' does what it can):"),
    ):
        if rows := _ordered(answer, verdict):
            yield from ("", title, _verdicts(rows), "", *_recipes(rows))
    if unknown := _ordered(answer, UNKNOWN):
        yield from ("", "could not be read, and does not bind:")
        yield table(("LIMIT", "WHY"), [(one.title, _short(one.value)) for one in unknown], "  ")
    yield from _met(answer)
    yield from _the_rest(answer, everything)


def _ordered(answer: agent.DoctorResponse, verdict: int) -> list[agent.LimitVerdict]:
    """The one that binds first, then those that break things, then those that slow down."""
    rows = [one for one in answer.verdicts if one.verdict == verdict]
    return sorted(
        rows,
        key=lambda one: (one.limit != answer.binding_limit, one.advisory, one.admits_guests),
    )


def _verdicts(rows: Sequence[agent.LimitVerdict]) -> str:
    cells = [(one.title, _short(one.value), one.needed, _admits(one)) for one in rows]
    return table(HEADERS, cells, "  ")


def _admits(one: agent.LimitVerdict) -> str:
    if one.advisory:
        return "slower" if one.verdict in (FIXABLE, NEEDS_REBOOT) else "any"
    return "any" if one.admits_guests == NO_BOUND else number(one.admits_guests)


def _short(text: str) -> str:
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 3]}..."


def _recipes(rows: Iterable[agent.LimitVerdict]) -> Iterator[str]:
    """Lines to copy, by the file they belong in; a command or a sentence by itself."""
    yield from recipes((one.file, one.change) for one in rows)


def recipes(changes: Iterable[tuple[str, str]]) -> Iterator[str]:
    """From (file, lines): what follows a line, "# then ...", is said once a file."""
    lines: dict[str, list[str]] = {}
    for file, change in changes:
        lines.setdefault(file, []).extend(change.splitlines())
    for file, held in lines.items():
        yield f"  in {file}:" if file else "  by hand:"
        if file:
            held = sorted(dict.fromkeys(held), key=lambda line: line.startswith("# then "))
        yield from (f"      {line}" for line in held)


def _met(answer: agent.DoctorResponse) -> Iterator[str]:
    if not answer.met:
        return
    yield from ("", "met since the host was booted, as its logs tell:")
    for one in answer.met:
        yield f"  {one.meaning} ({one.limit})"
        yield f"      {one.where}: {_short(one.line)}"


def _the_rest(answer: agent.DoctorResponse, everything: bool) -> Iterator[str]:
    passing, absent = _ordered(answer, PASS), _ordered(answer, NOT_APPLICABLE)
    if everything:
        if passing:
            yield from ("", "passes:", _verdicts(passing))
        if absent:
            yield from ("", "does not apply:")
            yield table(("LIMIT", "WHY"), [(one.title, _short(one.value)) for one in absent], "  ")
        return
    apply = f"{len(absent)} {'does' if len(absent) == 1 else 'do'} not apply"
    yield from ("", f"{counted(len(passing), 'limit')} passed; {apply} (--all)")
