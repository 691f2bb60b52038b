"""How the descriptors that the process may have are divided: links to hosts, callers, the rest.

Whoever only connects cannot take those of links, of the store or of logs.
"""

from __future__ import annotations

import resource
import sys
from dataclasses import dataclass

# For etcd, logs, the other controllers, and what Python opens now and then.
_OWN = 64
_LEAST_CALLERS = 192
_MOST_CALLERS = 20_000
# A process that may open many gives callers this share.
_SHARE_OF_CALLERS = 0.25


class FilesTooFew(Exception):
    """One sentence for whoever started it."""


_SHARE_OF_JOINING = 0.25
_MOST_JOINING = 1_024


@dataclass(frozen=True, slots=True)
class Files:
    """`links`: to hosts. `callers`: connections to the API, with those in their handshake."""

    links: int
    callers: int

    @property
    def joining(self) -> int:
        """How many of the callers' may be of machines that join, where those are let in: strangers
        take nothing from others."""
        return int(min(self.callers * _SHARE_OF_JOINING, _MOST_JOINING))


def files_of_process() -> Files:
    """Raises the soft limit, which is often 1,024, to the hard one. Raises FilesTooFew."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return divided(sys.maxsize if hard == resource.RLIM_INFINITY else hard)


def divided(files: int) -> Files:
    """Raises FilesTooFew where next to none is left for links."""
    least = _OWN + _LEAST_CALLERS
    if files <= least:
        raise FilesTooFew(
            f"it may open {files} files, and needs {least} and one for each host: "
            "raise its limit (LimitNOFILE, ulimit -Hn)"
        )
    share = int(min(files * _SHARE_OF_CALLERS, _MOST_CALLERS))
    callers = share if files >= 8 * least else _LEAST_CALLERS
    return Files(links=files - _OWN - callers, callers=callers)
