"""A seed as an image that NoCloud finds: ISO 9660 with the label cidata, made in memory.

ISO 9660 rather than FAT: every distribution's cloud image reads it, and pycdlib writes it, Rock
Ridge and Joliet names included, without a program or a mount.
"""

from __future__ import annotations

import io
from collections.abc import Mapping

import pycdlib

LABEL = "cidata"


def iso_image(files: Mapping[str, bytes]) -> bytes:
    """`files` by their names at the top of the image."""
    image = pycdlib.PyCdlib()
    image.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident=LABEL)
    for number, (name, content) in enumerate(files.items()):
        image.add_fp(
            io.BytesIO(content),
            len(content),
            f"/FILE{number}.;1",
            rr_name=name,
            joliet_path=f"/{name}",
        )
    written = io.BytesIO()
    image.write_fp(written)
    image.close()
    return written.getvalue()
