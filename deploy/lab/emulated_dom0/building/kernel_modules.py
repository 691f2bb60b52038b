"""A kernel's modules in the order in which they can be loaded, from depmod's tables."""

import lzma
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import LabError


@dataclass(frozen=True)
class Module:
    path: Path

    @property
    def name(self) -> str:
        return _name(self.path)

    def content(self) -> bytes:
        """Uncompressed."""
        packed = self.path.read_bytes()
        return lzma.decompress(packed) if self.path.suffix == ".xz" else packed


def modules_in_order(folder: Path, wanted: Sequence[str]) -> Iterator[Module]:
    """`wanted` by names with underscores, each after what it depends on, and each once.

    `folder` is lib/modules/RELEASE after depmod. What is built into the kernel is left out.
    Raises LabError for a module that the kernel has not.
    """
    dependencies: dict[str, list[str]] = {}
    paths: dict[str, str] = {}
    for line in (folder / "modules.dep").read_text().splitlines():
        path, _, needed = line.partition(":")
        paths[_name(Path(path))] = path
        # The deepest dependency stands last.
        dependencies[_name(Path(path))] = needed.split()[::-1]
    builtin = {_name(Path(line)) for line in (folder / "modules.builtin").read_text().split()}
    loaded: set[str] = set()
    for name in wanted:
        if name in builtin:
            continue
        if name not in paths:
            raise LabError(f"the kernel in {folder} has no module {name}")
        for path in (*dependencies[name], paths[name]):
            if path not in loaded:
                loaded.add(path)
                yield Module(folder / path)


def _name(module: Path) -> str:
    """`virtio_blk` of .../virtio-blk.ko.xz."""
    return module.name.partition(".")[0].replace("-", "_")
