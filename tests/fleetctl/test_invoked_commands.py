"""Commands that other commands run: no type shows whether the words they are given are theirs."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import fleetctl

ROOT = Path(fleetctl.__file__).parent


def calls() -> Iterator[tuple[Path, ast.Module, ast.Call]]:
    """Each `ctx.invoke(command, word=...)`."""
    for path in sorted(ROOT.rglob("*.py")):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "ctx.invoke":
                yield path, tree, node


def command_of(tree: ast.Module, call: ast.Call) -> click.Command:
    """As the module imports it, wherever it does so."""
    (named,) = call.args
    assert isinstance(named, ast.Name)
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or node.module is None:
            continue
        for alias in node.names:
            if (alias.asname or alias.name) == named.id:
                found = getattr(importlib.import_module(node.module), alias.name)
                assert isinstance(found, click.Command)
                return found
    raise AssertionError(f"{named.id} is not imported")


CALLS = list(calls())


def test_there_are_some() -> None:
    assert len(CALLS) >= 6


@pytest.mark.parametrize(
    ("tree", "call"),
    [(tree, call) for _, tree, call in CALLS],
    ids=[f"{path.stem}-{call.lineno}" for path, _, call in CALLS],
)
def test_each_is_given_words_of_its_own(tree: ast.Module, call: ast.Call) -> None:
    theirs = {parameter.name for parameter in command_of(tree, call).params}
    assert {word.arg for word in call.keywords if word.arg is not None} <= theirs
