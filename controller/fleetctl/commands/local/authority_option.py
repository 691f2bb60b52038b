"""Which authority is meant: a folder, beside fleetctl's contexts file unless one is named."""

from __future__ import annotations

import os
from pathlib import Path

import click

from megafleet.contexts import config_file

ca_option = click.option(
    "--ca", "folder", metavar="FOLDER", default=None,
    help="The authority's folder; 'ca' beside the contexts file by default.",
)  # fmt: skip


def authority_folder(given: str | None) -> Path:
    return Path(given) if given else config_file(os.environ).parent / "ca"
