"""What a program serves for Prometheus, as values."""

from __future__ import annotations

import urllib.request

from prometheus_client.parser import text_string_to_metric_families

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
