"""Names and addresses replaced, each by the same word wherever it stands. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

_ADDRESS = re.compile(
    r"(?<![0-9A-Za-z.:])(?:\d{1,3}(?:\.\d{1,3}){3}|\[?(?:[0-9a-fA-F]{0,4}:){3,7}[0-9a-fA-F]{0,4}\]?)"
    r"(?![0-9A-Za-z.])"
)
# Names of machines with their domain. A version has no letter behind its last dot.
_DOMAIN_NAME = re.compile(
    r"(?<![\w.@/-])(?:[A-Za-z0-9][A-Za-z0-9-]{0,62}\.){2,8}[a-z]{2,20}(?![\w-])"
)


class Anonymity:
    """Of one bundle. `names`: known ones, by what they are of."""

    def __init__(self, names: Mapping[str, Iterable[str]]) -> None:
        self._words: dict[str, str] = {}
        for kind, known in names.items():
            for number, name in enumerate(sorted({one for one in known if one}), start=1):
                self._words.setdefault(name, f"{kind}-{number}")
        self._others: dict[str, str] = {}
        self._counts: Counter[str] = Counter()  # of these, by kind
        longest_first = sorted(self._words, key=len, reverse=True)
        self._names = re.compile(
            rf"(?<![A-Za-z0-9])(?:{'|'.join(map(re.escape, longest_first))})(?![A-Za-z0-9])"
            if longest_first
            else r"(?!)"
        )

    def document(self, value: Any) -> Any:
        """The same document with other names. Keys are replaced where they are names as a whole."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self._words.get(key, key): self.document(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [self.document(one) for one in value]
        return value

    def text(self, text: str) -> str:
        """A text with other names and addresses."""
        text = self._names.sub(lambda found: self._words[found[0]], text)
        text = _DOMAIN_NAME.sub(lambda found: self._other("machine", found[0]), text)
        return _ADDRESS.sub(lambda found: self._other("address", found[0]), text)

    def _other(self, kind: str, found: str) -> str:
        word = self._others.get(found)
        if word is None:
            self._counts[kind] += 1
            word = self._others[found] = f"{kind}-{self._counts[kind]}"
        return word
