"""How long a reader bears a source that gives no chunk and says that more will come.

Whoever has all of the image has no reason to say so. Anybody else may have none for as long as its
own source is found to give nothing and is replaced: so each host bears this a little longer than
the one that it reads from, and where one gives nothing only its own readers look for another.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from fleet.image_content.manifest import CHUNK
from fleet_controller.core.image_spread.sources import STRIPES, Reading, Sources

# A source that has the chunks reads and sends one in far less, and in as long another is found,
# told, dialled and gives its first chunk.
STEP_SECONDS = 30.0
# A host fetches one chunk of each stripe in turn within its bound; one that was lost on the way
# takes its time once more.
_PACED_CHUNKS = 2 * STRIPES


def hops(decided: Sources) -> Mapping[Reading, int]:
    """How many hosts a chunk passes before the source of each reading has it; 0: that one has
    all."""
    found: dict[Reading, int] = {}
    for reading in decided:
        way = [reading]
        while way[-1] not in found:
            above = Reading(decided[way[-1]], reading.stripe)
            if above not in decided:
                found[way[-1]] = 0
            else:
                way.append(above)
        for one, above in zip(reversed(way[:-1]), reversed(way[1:]), strict=True):
            found[one] = found[above] + 1
    return found


def patience_seconds(passed: int, bytes_per_second: int) -> int:
    """`passed`: hosts, as of `hops`. `bytes_per_second`: that each host fetches at most; 0: no
    bound."""
    paced = _PACED_CHUNKS * CHUNK / bytes_per_second if bytes_per_second else 0.0
    return math.ceil(STEP_SECONDS + passed * (STEP_SECONDS + paced))
