"""Short ways to write metrics down."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client.core import GaugeMetricFamily


def gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"megafleet_{name}", text, value=value)


def by_label(name: str, text: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    return by_labels(name, text, (label,), (((key,), value) for key, value in values.items()))


def by_labels(
    name: str,
    text: str,
    labels: tuple[str, ...],
    values: Iterable[tuple[tuple[str, ...], float]],
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"megafleet_{name}", text, labels=labels)
    for keys, value in values:
        family.add_metric(keys, value)
    return family
