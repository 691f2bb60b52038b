"""Our hotplug program in place of Xen's block script, and back.

The stock script stays beside it as `block.stock`; dpkg is told of the diversion, so that an
upgrade of Xen's package writes there. At every moment there is a script at its place.
"""

from __future__ import annotations

import os
from pathlib import Path

from fleet_agent.core.limits.remedies import BLOCK_PROGRAM, BLOCK_SCRIPT
from fleet_agent.dom0.host_tree import CannotRead, HostTree

STOCK = f"{BLOCK_SCRIPT}.stock"


class CannotSwitch(Exception):
    """Why the script is left as it is; a few words."""


class BlockScript:
    """Blocking; each act may be done twice."""

    def __init__(self, tree: HostTree) -> None:
        self._tree = tree
        self._script, self._stock = tree.at(BLOCK_SCRIPT), tree.at(STOCK)

    @property
    def is_ours(self) -> bool:
        return self._script.is_symlink() and os.readlink(self._script) == BLOCK_PROGRAM

    def describe(self) -> str:
        if self._script.is_symlink():
            return f"a link to {os.readlink(self._script)}"
        return "Xen's own script" if self._script.is_file() else "nothing"

    def install(self) -> None:
        """Raises CannotSwitch; then the stock script is where it was."""
        if self.is_ours:
            return
        if not self._tree.at(BLOCK_PROGRAM).is_file():
            raise CannotSwitch(f"there is no {BLOCK_PROGRAM}")
        if self._script.is_symlink() or not self._script.is_file():
            raise CannotSwitch(f"{BLOCK_SCRIPT} is {self.describe()}, which is not touched")
        if self._stock.exists() and not self._stock.samefile(self._script):
            raise CannotSwitch(f"{STOCK} is there already, and is not the script in use")
        try:
            self._divert("--add")
            if not self._stock.exists():
                os.link(self._script, self._stock)
            self._point_to(BLOCK_PROGRAM)
        except OSError as error:
            raise CannotSwitch(f"{error.filename}: {error.strerror}") from error

    def remove(self) -> None:
        """Raises CannotSwitch."""
        try:
            if self.is_ours:
                if not self._stock.is_file():
                    raise CannotSwitch(f"{STOCK} is gone: reinstall Xen's scripts")
                self._stock.replace(self._script)
            elif self._stock.exists() and self._stock.samefile(self._script):
                self._stock.unlink()  # installing was broken off before the link was made
            self._divert("--remove")
        except OSError as error:
            raise CannotSwitch(f"{error.filename}: {error.strerror}") from error

    def _point_to(self, program: str) -> None:
        beside = self._script.with_name(".block.new")
        beside.unlink(missing_ok=True)
        beside.symlink_to(program)
        beside.replace(self._script)

    def _divert(self, act: str) -> None:
        """Only told; the files are moved here. Where there is no dpkg nobody needs to know."""
        if not self._tree.at("/usr/bin/dpkg-divert").exists():
            return
        root = self._tree.root
        where = [] if root == Path("/") else [f"--root={root}"]
        arguments = ["--local", "--no-rename", "--divert", STOCK, act, BLOCK_SCRIPT]
        try:
            self._tree.run(["dpkg-divert", *where, *arguments])
        except CannotRead as error:
            raise CannotSwitch(str(error)) from error
