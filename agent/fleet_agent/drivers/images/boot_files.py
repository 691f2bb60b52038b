"""Kernels and initrds of images, in a folder of kernels, named after the image. Blocking."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from fleet.image_content.boot_files import boot_file
from fleet.image_content.manifest import INITRD, KERNEL
from fleet_agent.core.images import ImageName
from fleet_agent.drivers.ports.errors import DriverError


class BootFiles:
    """`folder`: in which nothing is touched but what is named after an image."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of(self, image: ImageName) -> dict[str, Path]:
        """Where each part is, or would be."""
        return {
            part: self._folder / boot_file(image.name, image.snapshot, part)
            for part in (KERNEL, INITRD)
        }

    def copy(self, image: ImageName, sources: Mapping[str, Path], mark: str) -> None:
        """Beside where they will be, under names with this mark. Raises DriverError."""
        with self._errors():
            if sources:
                self._folder.mkdir(parents=True, exist_ok=True)
            for part, source in sources.items():
                beside = _beside(self.of(image)[part], mark)
                shutil.copyfile(source, beside)
                with beside.open("r+b") as file:
                    os.fchmod(file.fileno(), 0o644)
                    os.fsync(file.fileno())

    def put(self, image: ImageName, mark: str) -> None:
        """What was copied becomes the image's; what was not, the image does not have. Raises
        DriverError."""
        with self._errors():
            for target in self.of(image).values():
                try:
                    _beside(target, mark).replace(target)
                except FileNotFoundError:
                    target.unlink(missing_ok=True)

    def drop(self, image: ImageName, mark: str) -> None:
        """What was copied and not put."""
        for target in self.of(image).values():
            with contextlib.suppress(OSError):
                _beside(target, mark).unlink()

    def remove(self, image: ImageName) -> None:
        """Raises DriverError."""
        with self._errors():
            for path in self.of(image).values():
                path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            where = error.filename or self._folder
            raise DriverError(
                f"cannot put or remove a kernel at {where}: {error.strerror}"
            ) from error


def _beside(target: Path, mark: str) -> Path:
    return target.with_name(f".{target.name}.{mark}")
