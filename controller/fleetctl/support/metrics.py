"""Metrics as a controller or an agent serves them to Prometheus, read once."""

from __future__ import annotations

import urllib.request
from functools import partial

from fleetctl.outcome import Failed
from fleetctl.support.parts import Part

MOST_BYTES = 4 * 1024 * 1024
SECONDS = 10.0


def metrics_parts(urls: tuple[str, ...]) -> list[Part]:
    """One of each address."""
    return [
        Part(f"metrics-{number}.txt", f"metrics of {url}", partial(_read, url))
        for number, url in enumerate(urls, start=1)
    ]


def _read(url: str) -> str:
    """Raises Failed."""
    if not url.startswith(("http://", "https://")):
        raise Failed(f"cannot read {url}: metrics are served over http or https")
    try:
        with urllib.request.urlopen(url, timeout=SECONDS) as answer:
            content: bytes = answer.read(MOST_BYTES)
    except (OSError, ValueError) as error:
        raise Failed(f"cannot read {url}: {error}") from error
    return content.decode(errors="replace")
