"""What labels may say: whatever hosts and operators make up, the series stay few."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

OTHER = "other"
# Fleets with series of their own, the largest first. The rest is counted as one.
FLEETS = 200
OTHER_FLEETS = "_other"  # no fleet can be called so
VERSIONS = 8
MEMBERS = 9
KINDS_OF_EVENTS = 100

# Problems as agents and leaders name them; a host may report any text.
PROBLEMS = frozenset(
    """
    assignment_refused bad_spec bridge_missing broken_record busy capacity_claim conflict console
    died disk distrusted driver firmware_missing host_cut_off host_lost host_refused
    host_unreachable hypervisor_error image_mismatch image_missing internal kernel misbehaves
    network no_effect no_memory no_space node_missing not_defined not_ready old_ledger
    orders_refused paused storage_error suspended timeout
    """.split()
)


def problem(kind: str) -> str:
    return kind if kind in PROBLEMS else OTHER


def few(counts: Mapping[str, int], most: int) -> dict[str, int]:
    """Those that count most under their own names, the rest as one. Names are printable and
    short."""
    named: Counter[str] = Counter()
    for name, count in counts.items():
        plain = "".join(one for one in name[:40] if one.isprintable())
        named[plain or "unknown"] += count
    chosen = sorted(named, key=lambda name: (-named[name], name))[:most]
    rest = sum(named.values()) - sum(named[name] for name in chosen)
    found = {name: named[name] for name in chosen}
    if rest:
        found[OTHER] = found.get(OTHER, 0) + rest
    return found
