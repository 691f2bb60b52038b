"""Fits columns into a width. Pure: cells and a width in, lines out.

While they do not fit, spare columns go, then long texts are shortened as far as they read well,
then whole columns go, and at last texts are shortened to their least: those of the highest rank
first, each time. What then is wide enough is given back. Nothing is cut within a word.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

GAP = 2
MORE = "..."
# A column that is shortened keeps so much, or its longest first word up to LONGEST_WORD.
LEAST_TEXT = 12
READABLE = 32
LONGEST_WORD = 32


@dataclass(frozen=True, slots=True)
class Shape:
    """What fitting has to know of a column."""

    name: str
    rank: int = 0
    to_the_right: bool = False
    may_be_shortened: bool = False
    spare: bool = False
    least: int = 0
    readable: int = READABLE


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns that are shown, by their place among all, and their widths."""

    kept: tuple[int, ...]
    widths: tuple[int, ...]


def fitted(shapes: Sequence[Shape], cells: Sequence[Sequence[str]], width: int | None) -> Layout:
    """`cells`: column by column. `width` None: as wide as they are, without those to spare."""
    columns = [(shape.name, *column) for shape, column in zip(shapes, cells, strict=True)]
    whole = [
        max(shape.least, _widest(column)) for shape, column in zip(shapes, columns, strict=True)
    ]
    spare = {at for at, shape in enumerate(shapes) if shape.spare}
    if width is None:
        kept = [at for at in range(len(shapes)) if at not in spare]
        return Layout(tuple(kept), tuple(whole[at] for at in kept))
    least = [
        _least(shape, column, natural) if shape.may_be_shortened else natural
        for shape, column, natural in zip(shapes, columns, whole, strict=True)
    ]
    kept = _without(list(range(len(shapes))), shapes, whole, width, spare)
    readable = [
        max(fewest, min(most, shape.readable)) if shape.may_be_shortened else most
        for shape, fewest, most in zip(shapes, least, whole, strict=True)
    ]
    kept = _without(kept, shapes, readable, width, {at for at in kept if shapes[at].rank})
    widths = whole
    for bounds in (readable, least):
        widths = _shortened(kept, shapes, widths, bounds, width)
    return Layout(tuple(kept), tuple(widths[at] for at in kept))


def lines(
    shapes: Sequence[Shape], cells: Sequence[Sequence[str]], layout: Layout
) -> Iterator[tuple[str, ...]]:
    """Row by row the cells that are shown, padded to their widths."""
    padded = [
        _padded_column(cells[at], width, shapes[at].to_the_right)
        for at, width in zip(layout.kept, layout.widths, strict=True)
    ]
    return zip(*padded, strict=True)


def _widest(column: Sequence[str]) -> int:
    # Nearly all are plain, and then the answer is ten times cheaper.
    measured = len if all(map(str.isascii, column)) else text_width
    return max(map(measured, column))


def _padded_column(column: Sequence[str], width: int, to_the_right: bool) -> list[str]:
    if all(map(str.isascii, column)) and max(map(len, column), default=0) <= width:
        return [text.rjust(width) if to_the_right else text.ljust(width) for text in column]
    return [_padded(text, width, to_the_right) for text in column]


def text_width(text: str) -> int:
    """How many cells of a terminal it takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def shortened(text: str, width: int) -> str:
    """At the end of a word, with ... for the rest."""
    if text_width(text) <= width:
        return text
    room = width - len(MORE)
    end = len(text)
    while end > 0 and text_width(text[:end]) > room:
        end -= 1
    if end < len(text) and not text[end].isspace():
        end = max(text.rfind(" ", 0, end), 0)
    return text[:end].rstrip(" ,;:") + MORE


def _least(shape: Shape, column: Sequence[str], natural: int) -> int:
    """So that the first word of each is whole, unless that is very long."""
    first = max(text_width(text.split(" ", 1)[0]) for text in column)
    wanted = max(LEAST_TEXT, text_width(shape.name), min(first, LONGEST_WORD) + len(MORE))
    return min(natural, max(wanted, shape.least))


def _taken(widths: Sequence[int], kept: Sequence[int]) -> int:
    return sum(widths[at] for at in kept) + GAP * (len(kept) - 1)


def _without(
    kept: list[int], shapes: Sequence[Shape], widths: Sequence[int], width: int, may_go: set[int]
) -> list[int]:
    """Drops those that may go, the highest rank first, until the others fit."""
    going = sorted((at for at in kept if at in may_go), key=lambda at: (shapes[at].rank, at))
    while going and _taken(widths, kept) > width:
        last = going.pop()
        kept = [at for at in kept if at != last]
    return kept


def _shortened(
    kept: Sequence[int],
    shapes: Sequence[Shape],
    widths: Sequence[int],
    least: Sequence[int],
    width: int,
) -> list[int]:
    """Widths that fit, or are the least: the highest rank gives first."""
    given = list(widths)
    over = _taken(widths, kept) - width
    for at in sorted(kept, key=lambda at: (-shapes[at].rank, -at)):
        less = max(0, min(over, given[at] - least[at])) if shapes[at].may_be_shortened else 0
        given[at] -= less
        over -= less
    return given


def _padded(text: str, width: int, to_the_right: bool) -> str:
    if len(text) <= width and text.isascii():
        return text.rjust(width) if to_the_right else text.ljust(width)
    text = shortened(text, width)
    blank = " " * (width - text_width(text))
    return blank + text if to_the_right else text + blank
