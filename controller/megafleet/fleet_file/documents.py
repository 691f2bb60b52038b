"""The documents of a fleet file as trees of nodes: YAML, without what a fleet has no use for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from fleet.template.field import KIB, shown

MAX_FILE_BYTES = 256 * 1024
# A fleet file with every field and full lists has some 1,600 nodes, six deep; its values by index
# are up to 16,384 more.
MAX_NODES = 20_000
MAX_DEPTH = 8
MAX_MISTAKES_TOLD = 20
MAX_FLEETS = 100
_NO_FLEET = "a fleet file is 'field: value' lines; see 'name', 'image', 'memory'"


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong: where, in which field, and what is allowed there."""

    line: int
    path: str
    problem: str


class FleetFileError(Exception):
    """A fleet file that cannot be used, with all that is wrong in it."""

    def __init__(self, filename: str, mistakes: list[Mistake]) -> None:
        super().__init__(filename, mistakes)
        self.filename = filename
        self.mistakes = sorted(mistakes, key=lambda one: one.line)

    def __str__(self) -> str:
        lines = [
            f"{self.filename}:{one.line}: {f'{one.path}: ' if one.path else ''}{one.problem}"
            for one in self.mistakes[:MAX_MISTAKES_TOLD]
        ]
        if len(self.mistakes) > MAX_MISTAKES_TOLD:
            lines.append(f"{self.filename}: and {len(self.mistakes) - MAX_MISTAKES_TOLD} more")
        return "\n".join(lines)


def documents(text: str, filename: str, most: int) -> list[yaml.MappingNode]:
    """The mapping of each document that says anything; one at least. Raises FleetFileError."""
    if len(text) > MAX_FILE_BYTES or len(text.encode(errors="replace")) > MAX_FILE_BYTES:
        problem = f"the file is larger than {MAX_FILE_BYTES // KIB} KiB"
        raise FleetFileError(filename, [Mistake(1, "", problem)])
    try:
        if refused := next(_refused_events(text, most), None):
            raise FleetFileError(filename, [refused])
        found = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        problem = f"character {text[error.position]!a} is not allowed"
        raise FleetFileError(filename, [Mistake(line, "", problem)]) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = f"not YAML: {error.problem or error.context}"
        mistake = Mistake(mark.line + 1 if mark else 1, "", problem)
        raise FleetFileError(filename, [mistake]) from error
    roots: list[yaml.MappingNode] = []
    for root in found:
        if isinstance(root, yaml.MappingNode):
            roots.append(root)
        elif not _is_empty(root):
            raise FleetFileError(filename, [Mistake(root.start_mark.line + 1, "", _NO_FLEET)])
    if not roots:
        raise FleetFileError(filename, [Mistake(1, "", _NO_FLEET)])
    return roots


def _is_empty(root: yaml.Node | None) -> bool:
    """A document without anything in it, as behind a `---` that ends the file."""
    return root is None or (
        isinstance(root, yaml.ScalarNode) and root.tag.endswith(":null") and not root.value
    )


def _refused_events(text: str, most: int) -> Iterator[Mistake]:
    """What YAML would allow and a fleet file does not, before any tree is built from it."""
    documents = nodes = depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.AliasEvent):
            yield Mistake(line, "", f"aliases (*{event.anchor}) are not allowed")
        elif isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > most:
                what = "one fleet" if most == 1 else f"at most {most} fleets"
                yield Mistake(line, "", f"another document begins; here may stand {what}")
        elif isinstance(event, yaml.NodeEvent):
            nodes += 1
            depth += isinstance(event, yaml.CollectionStartEvent)
            yield from _refused_node(event, line, nodes, depth)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _refused_node(event: yaml.NodeEvent, line: int, nodes: int, depth: int) -> Iterator[Mistake]:
    if event.anchor is not None:
        yield Mistake(line, "", f"anchors (&{event.anchor}) are not allowed")
    if getattr(event, "tag", None) is not None:
        yield Mistake(line, "", f"tags ({shown(str(getattr(event, 'tag', '')))}) are not allowed")
    if nodes > MAX_NODES:
        yield Mistake(line, "", f"more than {MAX_NODES} values; a fleet file is far smaller")
    if depth > MAX_DEPTH:
        yield Mistake(line, "", f"nested more than {MAX_DEPTH} deep")
