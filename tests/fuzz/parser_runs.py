"""Runs of the parsers: many inputs from a seed, or one parser led by what of it was reached."""

from __future__ import annotations

import importlib
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.calls import Input, Reached
from tests.fuzz.mutations import Mutations, Names
from tests.fuzz.parsers import PARSERS, Parser

LOOK = 200  # inputs between two looks at the clock
OF_PARSERS = "parser"  # the service of an input that is no call
SLOW_SECONDS = 1.0  # no parser may take so long for one input


def run_all(seed: str, seconds: float, reached: Reached) -> Iterator[str]:
    """Each parser for its share of the time; a line of how fast it went."""
    for parser in PARSERS.values():
        began, inputs = time.monotonic(), 0
        while time.monotonic() - began < seconds / len(PARSERS):
            run(parser, Random(f"{seed}/{parser.name}/{inputs}"), LOOK, reached)
            inputs += LOOK
        rate = inputs / (time.monotonic() - began)
        yield f"parser {parser.name:20} {inputs:10,} inputs, {rate:9,.0f} a second"


def run(parser: Parser, random: Random, inputs: int, reached: Reached) -> None:
    """So many mutations of what it understands."""
    mutations = Mutations(random, Names({}))
    for _ in range(inputs):
        data = mutations.bytes_of(random.choice(parser.samples))
        began = time.monotonic()
        if why := raised(parser, data):
            _found(parser, why, data, reached)
        elif (took := time.monotonic() - began) > SLOW_SECONDS:
            _found(parser, f"takes {took:.0f} s", data, reached)


def raised(parser: Parser, data: bytes) -> str:
    """What the parser raises that it may not, and where; empty: nothing."""
    try:
        parser.reads(data)
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__} in {Path(where.filename).name}, {where.name}"
    return ""


def _found(parser: Parser, why: str, data: bytes, reached: Reached) -> None:
    shown = Input(OF_PARSERS, parser.name, "", (data.hex(),))
    reached.found(f"parser {parser.name}: {why}", f"{data[:120]!r}", [shown])


def run_with_coverage(name: str, seconds: int, folder: Path) -> None:
    """By atheris, which ends the process. What it finds is a file in the folder."""
    try:
        library: Any = importlib.import_module("atheris")
    except ImportError:
        sys.exit("atheris is not installed: 'make fuzz PARSER=...' installs it first")
    parser = PARSERS[name]
    corpus = folder / "corpus" / name.replace(" ", "-")
    corpus.mkdir(parents=True, exist_ok=True)
    for number, sample in enumerate(parser.samples):
        (corpus / f"sample-{number}").write_bytes(sample)
    library.instrument_all()
    arguments = [sys.argv[0], f"-max_total_time={seconds}", f"-artifact_prefix={folder}/"]
    library.Setup([*arguments, "-max_len=4096", str(corpus)], parser.reads)
    library.Fuzz()
