"""The formats of lists, and what is asked of one: all that commands have to know to be read."""

from __future__ import annotations

from dataclasses import dataclass

TABLE, WIDE, JSON, YAML, NAME, CSV = FORMATS = ("table", "wide", "json", "yaml", "name", "csv")
JSONPATH = "jsonpath"


@dataclass(slots=True)
class ListOptions:
    """How a list is to look. `output` is one of FORMATS, or jsonpath=EXPRESSION."""

    output: str = TABLE
    columns: tuple[str, ...] = ()
    sort: str = ""
    headers: bool = True

    @property
    def of_document(self) -> bool:
        """Whether what is printed is the JSON document, or made of it."""
        return self.output in (JSON, YAML) or self.output.startswith(JSONPATH)
