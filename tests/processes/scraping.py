"""What a program serves for Prometheus, as values."""

from __future__ import annotations

import urllib.request

from prometheus_client.parser import text_string_to_metric_families

from tests.processes.daemons import eventually

Series = dict[tuple[str, ...], float]


def scraped(address: str) -> Series:
    """By the series' name and its labels' values, in the order of the labels' names."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        text: str = answer.read().decode()
    found: Series = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = (sample.labels[key] for key in sorted(sample.labels))
            found[sample.name.removeprefix("megafleet_"), *labels] = sample.value
    return found


def scraped_anew(address: str, before: Series) -> Series:
    """What a controller reads after this. It tells each reading again for a while; readings are
    known by how long ago it looked at the store."""
    age = ("store_look_age_seconds",)

    def newer() -> Series | None:
        told = scraped(address)
        return told if told.get(age) != before.get(age) else None

    found = eventually(newer, f"{address} reads its metrics anew")
    assert found is not None
    return found
