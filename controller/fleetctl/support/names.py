"""Names that stand in the parts of a bundle, by what they are of. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from fleet.transport import Role

FLEET, HOST, LABEL, PERSON, CONTROLLER = "fleet", "host", "label", "person", "controller"
# A name that is of several has the word of the first.
KINDS = (FLEET, HOST, LABEL, PERSON, CONTROLLER)

Names = dict[str, set[str]]

_KINDS: Mapping[str, str] = {
    Role.OPERATOR: PERSON,
    Role.VIEWER: PERSON,
    Role.AGENT: HOST,
    Role.CONTROLLER: CONTROLLER,
}
# Fields that are a name as a whole, in any document.
_FIELDS: Mapping[str, str] = {
    "fleet": FLEET,
    "host": HOST,
    "hosts": HOST,
    "owners": PERSON,
    "replica": CONTROLLER,
    "reached_by": CONTROLLER,
}
# Fields that tell who has done something: a role and a name, or a program's part.
_ACTORS = frozenset({"actor", "changed_by", "applied_by", "held_by", "by_hand"})
# As parties are written in sentences, and no path of a file.
_PARTY = re.compile(
    rf"(?<![\w./@-])({'|'.join(_KINDS)})/"
    r"([A-Za-z0-9](?:[A-Za-z0-9._@-]{0,252}[A-Za-z0-9])?)(?![\w/])"
)
_NO_NAMES = frozenset({"", "nobody", *_KINDS})
# In the history, and of the events beside it.
_OF_OWNERS = frozenset({"owners", "fleet_owners"})
_OWNED_BY = re.compile(r"(?:.* is owned by )?(.+?)(?: and [\d,]+ more)?")
_OF_PEOPLE = frozenset({"users_add", "users_remove", "role_given", "role_taken"})
_PERSON = re.compile(r"([^\s:]+)(?: is |: | has no role)")


def names_in(found: Mapping[str, Any]) -> Names:
    """Of all parts: also of fleets, hosts and people that are there no more."""
    names: Names = defaultdict(set)
    for part in found.values():
        for kind, name in _in_document(part):
            names[kind].add(name)
    for name in _in_people_changes(found):
        names[PERSON].add(name)
    return {kind: some - _NO_NAMES for kind, some in names.items()}


def _in_document(value: Any, field: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield from _in_field(field, value)
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield from _in_document(one, str(key))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _in_document(one, field)


def _in_field(field: str, text: str) -> Iterator[tuple[str, str]]:
    if field in _FIELDS:
        yield _FIELDS[field], text
    elif field in _ACTORS:
        role, slash, name = text.partition("/")
        if slash:
            yield _KINDS.get(role, PERSON), name
    for party in _PARTY.finditer(text):
        yield _KINDS[party[1]], party[2]


def _in_people_changes(found: Mapping[str, Any]) -> Iterator[str]:
    """Their sentences name people without a role before them."""
    for record in _rows(found, "history.json", "records"):
        told = [str(record.get(field) or "") for field in ("before", "after")]
        yield from _people(str(record.get("action")), told)
    for event in _rows(found, "events.json", "events"):
        yield from _people(str(event.get("kind")), [str(event.get("message") or "")])


def _people(what: str, texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        if what in _OF_OWNERS and (owned := _OWNED_BY.fullmatch(text)):
            yield from owned[1].split(", ")
        elif what in _OF_PEOPLE and (person := _PERSON.match(text)):
            yield person[1]


def _rows(found: Mapping[str, Any], part: str, field: str) -> Iterable[Mapping[str, Any]]:
    document = found.get(part)
    rows = document.get(field) if isinstance(document, Mapping) else None
    return [one for one in rows or () if isinstance(one, Mapping)]
