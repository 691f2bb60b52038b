"""User data with placeholders, as cloud-init takes it.

A cloud-config (YAML) is read as a tree: placeholders stand in its texts, and what they become is
written back by the library, so that no value can become anything but text. Other kinds, such as
scripts, are filled in as they stand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fleet.template.placeholders import asked_for, filled, placeholder_problem

if TYPE_CHECKING:
    import yaml

MAX_DEPTH = 64
_CLOUD_CONFIG = re.compile(r"\s*#cloud-config\s*(\n|$)")
_JINJA = re.compile(r"\s*##\s*template:\s*jinja")
_TEXT_TAG = "tag:yaml.org,2002:str"
_NULL_TAG = "tag:yaml.org,2002:null"
_AS_IT_STANDS = "or set user_data_verbatim: true, and nothing is filled in"


class BadUserData(ValueError):
    """It cannot be filled in; a few words say why."""


class UserData:
    """User data of a template, read once and filled in for any number of VMs. Not for several
    threads at once."""

    def __init__(self, text: str, *, verbatim: bool = False) -> None:
        """Raises BadUserData."""
        self._text = text
        self._verbatim = verbatim
        self._root: yaml.Node | None = None
        self._scalars: list[tuple[yaml.ScalarNode, str]] = []
        self.keys: frozenset[str] = frozenset()  # of a cloud-config, at its top
        if not _CLOUD_CONFIG.match(text):
            return
        try:
            self._root = _tree(text)
        except BadUserData:
            if not verbatim:
                raise
            return
        self.keys = frozenset(_top_keys(self._root))
        self._scalars = [(node, node.value) for node in _texts(self._root)]

    def problem(self, offered: Sequence[str]) -> str | None:
        """What is wrong with it where these are the placeholders; None when nothing is."""
        if self._verbatim:
            return None
        if _JINJA.match(self._text):
            return "a jinja template has braces of its own: set user_data_verbatim: true"
        if self._root is not None and (unquoted := next(_unquoted(self._root, offered), None)):
            return f"{{{unquoted}}} is a mapping to YAML: write '{{{unquoted}}}' in quotes"
        for text in self.places():
            if problem := placeholder_problem(text, offered) or _variable_problem(text, offered):
                return f"{problem}; {_AS_IT_STANDS}"
        return None

    def filled(self, values: Mapping[str, str]) -> str:
        """That of one VM. Nothing is wrong with it."""
        if self._verbatim or ("{" not in self._text and "}" not in self._text):
            return self._text
        if self._root is None:
            return filled(self._text, values)
        changed = False
        for node, text in self._scalars:
            node.value = filled(text, values)
            changed = changed or node.value != text
        return f"#cloud-config\n{_written(self._root)}" if changed else self._text

    def places(self) -> Iterator[str]:
        """The texts in which placeholders may stand."""
        if self._verbatim:
            return
        if self._root is None:
            yield self._text
        for _, text in self._scalars:
            yield text


def _tree(text: str) -> yaml.Node | None:
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        depth = 0
        for event in yaml.parse(text, Loader=loader):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise BadUserData(f"is nested more than {MAX_DEPTH} deep")
        return yaml.compose(text, Loader=loader)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise BadUserData(f"{line}not YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise BadUserData(f"not YAML: {str(error)[:120]!a}") from error


def _written(root: yaml.Node) -> str:
    import yaml

    dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return str(yaml.serialize(root, Dumper=dumper, width=2**30, allow_unicode=True))


def _nodes(root: yaml.Node | None) -> Iterator[yaml.Node]:
    """Each once, however many aliases lead to it."""
    import yaml

    seen: set[int] = set()
    todo = [root] if root is not None else []
    while todo:
        node = todo.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        if isinstance(node, yaml.MappingNode):
            todo += [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            todo += node.value


def _texts(root: yaml.Node | None) -> Iterator[yaml.ScalarNode]:
    import yaml

    for node in _nodes(root):
        if isinstance(node, yaml.ScalarNode) and node.tag == _TEXT_TAG:
            yield node


def _top_keys(root: yaml.Node | None) -> Iterator[str]:
    import yaml

    if isinstance(root, yaml.MappingNode):
        for key, _ in root.value:
            if isinstance(key, yaml.ScalarNode):
                yield key.value


def _unquoted(root: yaml.Node, offered: Sequence[str]) -> Iterator[str]:
    """Placeholders that YAML took for a mapping of one key and no value."""
    import yaml

    for node in _nodes(root):
        if isinstance(node, yaml.MappingNode) and node.flow_style and len(node.value) == 1:
            key, value = node.value[0]
            if isinstance(key, yaml.ScalarNode) and key.value in offered and value.tag == _NULL_TAG:
                yield key.value


def _variable_problem(text: str, offered: Sequence[str]) -> str | None:
    """A variable of the shell is most likely meant, and would lose its braces."""
    for name in asked_for(text):
        if name in offered and re.search(rf"(?<!\$)\$\{{{re.escape(name)}\}}", text):
            return f"write ${{{{{name}}}}} for the shell's variable"
    return None
