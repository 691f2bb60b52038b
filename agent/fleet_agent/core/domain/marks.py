"""The mark that every domain and clone of ours carries, as named strings.

Domains hold it in their XML, ZFS clones in user properties, files in extended attributes; what
is in it and how it is spelt is the same. Whatever carries no whole mark is not ours.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fleet.keys import NO_EPOCH, Epoch, Kin, Term
from fleet.ranges import IndexSet
from fleet_agent.core.model import Batch, CloneRun, Mark

FIELDS = ("uid", "index", "generation", "birth", "term", "epoch")


@dataclass(frozen=True, slots=True)
class Marked:
    """Whose something is: the mark, read."""

    kin: Kin
    index: int
    mark: Mark

    def is_of(self, batch: Batch, index: int) -> bool:
        """Whether it is this VM's, of this very kin; who ordered it last does not matter."""
        return (self.kin, self.index) == (batch.kin, index)


def foreign_mark(marked: Marked | None, batch: Batch, index: int) -> str:
    """Whose something is that has the name of this VM, in words; empty where it is this VM's."""
    if marked is None:
        return "without our mark"
    return "" if marked.is_of(batch, index) else f"of another birth ({marked.kin.birth})"


def mark_fields(batch: Batch, index: int) -> dict[str, str]:
    """The mark of one VM of a batch, by the names of FIELDS."""
    return {
        "uid": batch.kin.fleet_uid,
        "index": str(index),
        "generation": str(batch.kin.generation),
        "birth": str(batch.kin.birth),
        "term": "{}:{}".format(*batch.mark.term),
        "epoch": "{}:{}".format(*batch.mark.epoch),
    }


def read_mark(fields: Mapping[str, str]) -> Marked | None:
    """The mark in named strings; None when it is not whole. Other names are passed over."""
    try:
        index, generation, birth = (
            natural(fields[name]) for name in ("index", "generation", "birth")
        )
        mark = Mark(Term(*pair(fields["term"])), Epoch(*pair(fields["epoch"])))
        uid = fields["uid"]
    except (KeyError, ValueError):
        return None
    return Marked(Kin(uid, generation, birth), index, mark) if uid else None


def clone_runs(clones: Iterable[Marked]) -> tuple[CloneRun, ...]:
    """Clones grouped by kin, sorted."""
    members: dict[Kin, list[int]] = defaultdict(list)
    newest: dict[Kin, Epoch] = defaultdict(lambda: NO_EPOCH)
    for clone in clones:
        members[clone.kin].append(clone.index)
        newest[clone.kin] = max(newest[clone.kin], clone.mark.epoch)
    return tuple(CloneRun(kin, IndexSet.of(members[kin]), newest[kin]) for kin in sorted(members))


def natural(text: str) -> int:
    """A number >= 0. Raises ValueError."""
    number = int(text)
    if number < 0:
        raise ValueError(f"{number} is negative")
    return number


def pair(text: str) -> tuple[int, int]:
    """Two numbers, as "store generation:revision". Raises ValueError."""
    first, _, second = text.partition(":")
    return int(first), int(second)
