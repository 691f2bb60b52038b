"""What tuning a host changed, or would, as JSON and as text. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fleet.v1 import agent_pb2 as agent
from fleetctl.outcome import printable
from fleetctl.output import counted
from fleetctl.tables.listing import table
from fleetctl.views.hosts.limits import doctor_json, recipes

KINDS = ("unspecified", "live", "persistent", "reboot")
LIVE, PERSISTENT, REBOOT = range(1, 4)


def kind_name(value: int) -> str:
    return KINDS[value] if 0 <= value < len(KINDS) else "unspecified"


def tune_json(answer: agent.TuneResponse, host: str, wish: str) -> dict[str, Any]:
    """`after` is null for a plan."""
    return {
        "host": host or None,
        "wish": wish,
        "changes": [
            {
                "limit": one.limit,
                "kind": kind_name(one.kind),
                "what": one.what,
                "before": one.before,
                "after": one.after,
                "done": one.done,
                "error": one.error,
            }
            for one in answer.changes
        ],
        "after": doctor_json(answer.after, host) if answer.HasField("after") else None,
    }


def failures(answer: agent.TuneResponse) -> int:
    return sum(bool(one.error) for one in answer.changes)


def tune_words(answer: agent.TuneResponse, wish: str) -> str:
    """As short as hosts that agree say the same."""
    if not answer.changes:
        return "nothing to change" if wish != "undo" else "nothing was changed by tuning"
    if wish == "plan":
        return f"{counted(len(answer.changes), 'change')} to make"
    done = sum(one.done for one in answer.changes)
    text = f"{counted(done, 'change')} {'made' if wish == 'apply' else 'brought back'}"
    if reboot := sum(one.kind == REBOOT for one in answer.changes):
        text += f", {reboot:,} for a reboot"
    wrong = next((one for one in answer.changes if one.error), None)
    if wrong is not None:
        text += f", {failures(answer):,} failed: {wrong.what}: {wrong.error}"
    return printable(text)


def tune_text(answer: agent.TuneResponse, host: str, wish: str) -> str:
    return printable("\n".join(_lines(answer, host, wish)))


def _lines(answer: agent.TuneResponse, host: str, wish: str) -> Iterator[str]:
    if not answer.changes:
        nothing = "nothing was changed by tuning" if wish == "undo" else "nothing to change"
        yield f"{host}: {nothing}" if host else nothing
    live, files = _of(answer, LIVE), _of(answer, PERSISTENT)
    if live:
        yield {"plan": "would be changed at once:", "undo": "brought back:"}.get(
            wish, "changed at once:"
        )
        yield table(("WHAT", "BEFORE", "AFTER", ""), [_row(one, wish) for one in live], "  ")
        yield ""
    if files:
        yield {"plan": "files that would be written:", "undo": "files brought back:"}.get(
            wish, "files written:"
        )
        for one in files:
            yield f"  {one.what}{_became(one, wish)}"
            yield from (f"      {line}" for line in one.after.split("; "))
        yield ""
    yield from _by_people(answer)
    if answer.HasField("after"):
        yield answer.after.summary
    elif live or files:
        yield f"to do it: {f'fleetctl tune {host}'.strip()} --apply; --undo brings it back"


def _of(answer: agent.TuneResponse, kind: int) -> list[agent.TuneChange]:
    return [one for one in answer.changes if one.kind == kind]


def _row(one: agent.TuneChange, wish: str) -> tuple[str, str, str, str]:
    return one.what, one.before or "-", one.after, _became(one, wish).removeprefix(": ")


def _became(one: agent.TuneChange, wish: str) -> str:
    if one.error:
        return f": failed: {one.error}"
    return ": done" if one.done and wish != "plan" else ""


def _by_people(answer: agent.TuneResponse) -> Iterator[str]:
    """What is never done by itself: lines, each with the file it belongs in."""
    changes = _of(answer, REBOOT)
    if not changes:
        return
    yield "for you to do:"
    yield from recipes(
        ("" if one.what == "by hand" else one.what, one.after.replace("; ", "\n# then "))
        for one in changes
    )
    yield ""
