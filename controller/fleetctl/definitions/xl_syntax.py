"""The syntax of xl.cfg: `key = value` lines, where a value is a number, a text or a list of them.

After xl.cfg(5) and libxlu's grammar. It looks like Python, and is read as what it is: nothing in it
is evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from fleet.template.field import shown
from fleetctl.definitions.guest import BadDefinition

XlValue = str | list[str]

MOST_KEYS = 500
MOST_ENTRIES = 500

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\f]+|\#[^\n]*)
    |(?P<end>[\n;])
    |(?P<key>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<number>[0-9][0-9a-fA-FxX]*)
    |(?P<text>"(?:[^"\\\n]|\\[^\n])*"|'(?:[^'\\\n]|\\[^\n])*')
    |(?P<sign>\+=|[=,\[\]])""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|[0-7]{3}|.)")
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "b": "\b", "a": "\a"}


class _Token(NamedTuple):
    kind: str
    text: str
    line: int


def parse_xl(text: str) -> Mapping[str, XlValue]:
    """Keys with their values; the last of a key counts, += adds. Raises BadDefinition."""
    tokens = _Tokens(text)
    settings: dict[str, XlValue] = {}
    while (token := tokens.next()).kind != "over":
        if token.kind == "end":
            continue
        if token.kind != "key":
            raise _bad(token, "a setting begins with its name")
        sign = tokens.next()
        if sign.text not in ("=", "+="):
            raise _bad(sign, f"after {token.text} stands =")
        value = _value(tokens)
        settings[token.text] = _sum(settings.get(token.text), value) if sign.text == "+=" else value
        ended = tokens.next()
        if ended.kind not in ("end", "over"):
            raise _bad(ended, "one setting a line, with a plain value; expressions are not read")
        if len(settings) > MOST_KEYS:
            raise _bad(token, f"more than {MOST_KEYS} settings")
    return settings


class _Tokens:
    def __init__(self, text: str) -> None:
        self._each = self._read(text)

    def next(self) -> _Token:
        return next(self._each)

    def next_in_list(self) -> _Token:
        """Lines may end anywhere in a list."""
        while (token := self.next()).text == "\n":
            pass
        return token

    def _read(self, text: str) -> Iterator[_Token]:
        position, line = 0, 1
        while position < len(text):
            found = _TOKEN.match(text, position)
            if found is None:
                raise _bad(
                    _Token("", text[position : position + 20], line),
                    "this is not the syntax of xl.cfg",
                )
            kind = found.lastgroup or ""
            if kind != "space":
                yield _Token(kind, found[0], line)
            line += found[0] == "\n"
            position = found.end()
        while True:
            yield _Token("over", "the end of the file", line)


def _value(tokens: _Tokens) -> XlValue:
    token = tokens.next()
    if token.text != "[":
        return _plain(token)
    entries: list[str] = []
    while (token := tokens.next_in_list()).text != "]":
        entries.append(_plain(token))
        if len(entries) > MOST_ENTRIES:
            raise _bad(token, f"a list of more than {MOST_ENTRIES}")
        after = tokens.next_in_list()
        if after.text == "]":
            break
        if after.text != ",":
            raise _bad(after, "between the entries of a list stands a comma")
    return entries


def _plain(token: _Token) -> str:
    if token.kind == "number":
        try:
            return str(int(token.text, 0 if token.text[:2].lower() == "0x" else 10))
        except ValueError:
            raise _bad(token, "a number was expected") from None
    if token.kind == "text":
        return _ESCAPE.sub(_unescaped, token.text[1:-1])
    raise _bad(token, "a number, a quoted text or a list of them was expected")


def _unescaped(found: re.Match[str]) -> str:
    code = found[1]
    if code.startswith("x") and len(code) == 3:
        return chr(int(code[1:], 16))
    if len(code) == 3:
        return chr(int(code, 8) & 0xFF)
    return _ESCAPED.get(code, code)


def _sum(before: XlValue | None, more: XlValue) -> XlValue:
    if before is None:
        return more
    if isinstance(before, list) and isinstance(more, list):
        return [*before, *more]
    if isinstance(before, str) and isinstance(more, str):
        return before + more
    raise BadDefinition("+= adds a list to a list, or a text to a text")


def _bad(token: _Token, sentence: str) -> BadDefinition:
    return BadDefinition(f"line {token.line}: {sentence}; got {shown(token.text, 40)}")
