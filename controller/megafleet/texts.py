"""Texts from elsewhere, made safe to show."""

from __future__ import annotations


def printable(text: str) -> str:
    """A text from elsewhere without anything that would steer a terminal."""
    return "".join(one if one.isprintable() or one == "\n" else ascii(one)[1:-1] for one in text)


def one_line(text: str) -> str:
    """The same where no line may end: a cell, a sentence."""
    if text.isprintable():  # nearly always, and a list has a million cells
        return text
    return printable(text).replace("\n", "\\n")
