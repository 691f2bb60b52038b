"""What hosts say of one another and of an image while it spreads, as far as it counts. Pure.

One host's word keeps only itself from a source. A few in agreement bar few sources from giving, as
each may speak against few, and end no spread that goes well for others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Set

# So many hosts have to say of one that it lied before nobody fetches from it.
WITNESSES = 2
# Of one host, sources that it may speak against before all: whoever finds more liars than that is
# kept from them itself, and counts for nobody else.
MOST_ACCUSED = 2
# Of the hosts that are to have an image, as many have to find that the whole has not its digest
# before all are stopped: more than may be in agreement with one another.
MISLED_SHARE = 0.1


def barred(
    accused: Mapping[str, Set[str]], readers: Mapping[str, Set[str]]
) -> Mapping[str, frozenset[str]]:
    """Sources that give to nobody any more, with those who say so. `accused`: by host, the sources
    that have lied to it, it says; `readers`: by source, all who were ever told to fetch there."""
    against: defaultdict[str, set[str]] = defaultdict(set)
    for host, sources in accused.items():
        if len(sources) <= MOST_ACCUSED:
            for source in sources:
                against[source].add(host)
    return {
        source: frozenset(hosts)
        for source, hosts in against.items()
        if len(hosts) >= WITNESSES and 2 * len(hosts) > len(readers.get(source, ()))
    }


def is_misled(mismatches: int, targets: int) -> bool:
    """Whether the image is not made of what was said: so many of its targets have found that the
    whole has not its digest."""
    few = min(WITNESSES, targets)
    return mismatches >= max(few, MISLED_SHARE * targets) and mismatches > 0
