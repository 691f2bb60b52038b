"""The channel program that destroys many clones in one transaction group: zfs-program(8).

Each lzc_destroy waits for a transaction group of its own; a program's destroys share one.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping

from fleet.keys import Kin

# A program may execute 10 million instructions and hold 10 MB (ZCP_DEFAULT_INSTRLIMIT and
# _MEMLIMIT of OpenZFS's sys/zcp.h), and no other change of the pool goes on meanwhile: parts of
# this size take a fraction of either.
PART = 64

# Arguments: uid, generation, birth, then name and index of each volume. Strings alone, since the
# integers that pyzfs passes are of a type that programs do not take. Whoever has taken over a
# name since it was listed is left alone. Answers each name's errno, 0 where nothing of this kin
# is left. zfs.get_prop() ends the whole program for a dataset that does not exist, hence exists().
DESTROY = f"""
local argv = (...)["argv"]
local function has(name, field, value)
    return zfs.get_prop(name, "megafleet:" .. field) == value
end
local answers = {{}}
for at = 4, #argv, 2 do
    local name, index = argv[at], argv[at + 1]
    answers[name] = 0
    if zfs.exists(name) and has(name, "uid", argv[1]) and has(name, "index", index)
            and has(name, "generation", argv[2]) and has(name, "birth", argv[3]) then
        answers[name] = zfs.sync.destroy(name)
        if answers[name] == {errno.ENOENT} then answers[name] = 0 end
    end
end
return answers
""".encode()


def arguments(kin: Kin, volumes: Mapping[str, int]) -> list[bytes]:
    """What the program is given for these volumes, each with its index."""
    listed = [kin.fleet_uid, str(kin.generation), str(kin.birth)]
    for name, index in volumes.items():
        listed += (name, str(index))
    return [one.encode() for one in listed]


def answers(returned: Mapping[bytes, int], volumes: Mapping[str, int]) -> dict[str, int]:
    """Each volume's errno; one that the program did not answer counts as not done."""
    return {name: returned.get(name.encode(), errno.EIO) for name in volumes}
