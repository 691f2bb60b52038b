"""Every key in the store, and who writes it. The adapter adds the cluster's prefix.

| key | value | written by |
|---|---|---|
| meta | Meta | leader |
| hosts/<host id> | HostRecord | leader, from an agent's Announce or an operator |
| fleets/<name> | FleetRecord | leader, from an operator |
| fleets/<uid>/spec/<generation> | FleetSpec as JSON | leader, once |
| gone/<uid> | GoneFleet: a fleet that was deleted | leader |
| assignments/<host id> | Assignment | leader |
| upgrade | UpgradeRecord: agents brought to a release, in waves | leader |
| breaker | BreakerRecord: whether lost hosts are replaced | leader |
| rollouts/<fleet uid> | position of a fleet's last rollout | leader |
| orders/<fleet uid> | OrdersRecord: VMs begun anew in waves | leader, from an operator |
| rebalances/<fleet uid> | RebalanceRecord: that a fleet is being rebalanced | leader |
| schedules/<fleet uid> | ScheduleRecord: points that are done, a total for a time | leader |
| denied/<role>/<name> | DeniedRecord: whose calls are refused | leader, from an operator |
| people/<name> | PersonRecord: what somebody may do, and own | leader, from an admin |
| roles/<role> | RoleRecord: what those of a role may own | leader, from an admin |
| tokens/<id> | TokenRecord: by which machines may join | leader, from an operator |
| joined/<host id> | JoinedRecord: by which token, with which key | leader, from Join |
| audit/<id> | AuditRecord: one accepted change | leader, with the change |
| events/<slot> | EventRecord: one of the last events that matter, in a ring | leader, at a pace |
| freeze | Freeze: why nothing is changed; absent: changes are taken | leader |
| seal | SealKey: what leaders prove by that they said something to an agent | leader, once |
| leader | replica id and address, on a lease | whoever holds it |
"""

from __future__ import annotations

import re

META = "meta"
LEADER = "leader"
HOSTS = "hosts/"
FLEETS = "fleets/"
ASSIGNMENTS = "assignments/"
BREAKER = "breaker"
UPGRADE = "upgrade"
GONE = "gone/"
ROLLOUTS = "rollouts/"
ORDERS = "orders/"
REBALANCES = "rebalances/"
SCHEDULES = "schedules/"
AUDIT = "audit/"
EVENTS = "events/"
FREEZE = "freeze"
DENIED = "denied/"
PEOPLE = "people/"
ROLES = "roles/"
TOKENS = "tokens/"
JOINED = "joined/"
_NATURAL = re.compile("[1-9][0-9]{0,9}")
SEAL = "seal"


def host(host_id: str) -> str:
    return HOSTS + host_id


def fleet(name: str) -> str:
    return FLEETS + name


def spec(uid: str, generation: int) -> str:
    return f"{FLEETS}{uid}/spec/{generation}"


def audit(name: str) -> str:
    return AUDIT + name


def event(slot: str) -> str:
    return EVENTS + slot


def denied(who: str) -> str:
    """`who`: role/name."""
    return DENIED + who


def person(name: str) -> str:
    return PEOPLE + name


def role(name: str) -> str:
    return ROLES + name


def token(token_id: str) -> str:
    return TOKENS + token_id


def joined(host_id: str) -> str:
    return JOINED + host_id


def gone(uid: str) -> str:
    return GONE + uid


def assignment(host_id: str) -> str:
    return ASSIGNMENTS + host_id


def rollout(uid: str) -> str:
    return ROLLOUTS + uid


def orders(uid: str) -> str:
    return ORDERS + uid


def rebalance(uid: str) -> str:
    return REBALANCES + uid


def schedule(uid: str) -> str:
    return SCHEDULES + uid


def spec_of(key: str) -> tuple[str, int] | None:
    """(uid, generation) when the key is that of a spec."""
    parts = key.removeprefix(FLEETS).split("/")
    is_spec = len(parts) == 3 and parts[1] == "spec" and _NATURAL.fullmatch(parts[2])
    return (parts[0], int(parts[2])) if is_spec else None
