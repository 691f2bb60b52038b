"""The lies that a hostile host may tell: each field of each message, too many of them, too large
ones, silence, and orders that are answered and not obeyed.

`LIES` has all; `TOLD_TODAY` those that hurt nobody else as the product is, which is what plays draw
from. A lie that is not among them is one that the product does not stand yet, or that nobody looks
at: `WITHSTOOD_NOT_YET` says of each what it does.
"""

from __future__ import annotations

from collections.abc import Mapping

from tests.simulation.doubles.lies.fields import ANNOUNCEMENT_FIELDS, REPORT_FIELDS
from tests.simulation.doubles.lies.messages import ANNOUNCEMENTS, REPORTS_AND_ANSWERS
from tests.simulation.doubles.lies.told import Told

# In this order: what a seed draws goes by it.
LIES: Mapping[str, Told] = {
    lie.name: lie
    for lie in (*REPORT_FIELDS, *REPORTS_AND_ANSWERS, *ANNOUNCEMENT_FIELDS, *ANNOUNCEMENTS)
}
# What becomes of the others while a host tells these; each is taken out of here once the product
# stands it, and plays tell it from then on.
WITHSTOOD_NOT_YET: Mapping[str, str] = {}
TOLD_TODAY: tuple[str, ...] = tuple(name for name in LIES if name not in WITHSTOOD_NOT_YET)
# Of those that are told, what is not told while hosts are asked what a recovery is to be made of.
NOT_IN_RECOVERIES: Mapping[str, str] = {}
