"""VMs: listed by pages, looked at, and what is done to them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from fleet.identity import MAX_INDEX
from fleet.identity import Fleet as Identity
from fleet.ranges import IndexSet, parse_ranges
from fleet.v1 import cluster_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet.wire_ranges import to_wire
from megafleet.client.words import VmAction, VmState, action_number, state_number, vm_state
from megafleet.connection.cluster import Cluster
from megafleet.errors import Failed, InvalidArgument

# Of one page: the most that a controller gives.
MAX_PAGE = 10_000
# 3; [0, 1, 2]; "0-99,300".
Indices = int | str | Iterable[int]


@dataclass(frozen=True, slots=True)
class _Shared:
    """What the rows of one page have in common."""

    fleet: Identity
    hosts: Sequence[str]
    reasons: Sequence[str]
    prefixes: Mapping[int, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Vm:
    """One VM of a list. A page has ten thousand of them, so most of it is worked out when asked
    for."""

    index: int
    message: wire.VmRow = field(repr=False)
    _shared: _Shared = field(repr=False)

    @property
    def fleet(self) -> str:
        return self._shared.fleet.name

    @property
    def name(self) -> str:
        """Of its domain: the fleet's name and the index, such as spv-250."""
        return self._shared.fleet.domain_name(self.index)

    @property
    def uuid(self) -> str:
        return self._shared.fleet.domain_uuid_text(self.index)

    @property
    def state(self) -> VmState:
        return vm_state(self.message.state)

    @property
    def host(self) -> str:
        """Empty: it is placed nowhere."""
        return _at(self._shared.hosts, self.message.host)

    @property
    def generation(self) -> int:
        return self.message.generation

    @property
    def powered_off(self) -> bool:
        """Somebody wants it off."""
        return self.message.powered_off

    @property
    def reason(self) -> str:
        """Why it has failed; empty: it has not, or nobody knows."""
        return _at(self._shared.reasons, self.message.reason)

    @property
    def restarts(self) -> int:
        """As this leader has seen."""
        return self.message.restarts

    @property
    def state_seconds(self) -> int | None:
        """For how long; None: for longer than this leader has heard of it."""
        return self.message.state_seconds if self.message.HasField("state_seconds") else None

    @property
    def addresses(self) -> tuple[str, ...]:
        """Those that follow from the prefixes of its interfaces, in their order."""
        prefixes = self._shared.prefixes.get(self.generation, ())
        found = (_address(self._shared.fleet, self.index, one) for one in prefixes)
        return tuple(one for one in found if one)


@dataclass(frozen=True, slots=True)
class VmPage:
    """One page of a list. `matching`: how many there are in all; `next_cursor`: where the next page
    begins; empty: that was all."""

    fleet: str
    vms: tuple[Vm, ...]
    matching: int
    next_cursor: str
    message: wire.ListVmsResponse = field(repr=False)


@dataclass(frozen=True, slots=True)
class VmDetail:
    """One VM by itself. `problem`: the kind, where it has one."""

    fleet: str
    index: int
    name: str
    state: VmState
    host: str
    generation: int
    powered_off: bool
    unplaced_reason: str
    problem: str
    message: wire.VmDetail = field(repr=False)


@dataclass(frozen=True, slots=True)
class Controlled:
    """How many VMs, on how many hosts; `token`: of a plan, to carry it out with."""

    vms: int
    hosts: int
    token: str
    change_id: str
    message: wire.ControlVmsResponse = field(repr=False)


@dataclass(frozen=True, slots=True)
class VmChoice:
    """Which VMs of a fleet: those for which all of it holds."""

    fleet: str
    indices: Indices | None = None
    state: VmState | str | None = None
    host: str = ""


def pages(
    cluster: Cluster,
    choice: VmChoice,
    labels: Mapping[str, str] | None,
    powered_off: bool,
    page: int,
    cursor: str,
) -> Iterator[list[VmPage]]:
    """One in a list. `page`: rows of each. Raises MegafleetError, also while iterating."""
    if not 1 <= page <= MAX_PAGE:
        raise InvalidArgument(f"a page has 1 to {MAX_PAGE:,} VMs; got {page}")
    request = wire.ListVmsRequest(
        fleet=choice.fleet, state=_state(choice.state), host=choice.host,
        indices=to_wire(_indices(choice.indices)) if choice.indices is not None else (),
        host_selector=labels, powered_off_only=powered_off, limit=page, cursor=cursor,
    )  # fmt: skip
    while True:
        answer = cluster.call(lambda stub: stub.ListVms, request)
        if labels and not answer.HasField("selected_hosts"):
            raise Failed("this controller is too old to list VMs by labels of hosts")
        yield [_page(answer)]
        if not answer.next_cursor:
            return
        request.cursor = answer.next_cursor


def rows(
    cluster: Cluster,
    choice: VmChoice,
    labels: Mapping[str, str] | None,
    powered_off: bool,
    page: int,
    cursor: str,
) -> Iterator[Sequence[Vm]]:
    """The VMs of the pages. Raises MegafleetError, also while iterating."""
    for (one,) in pages(cluster, choice, labels, powered_off, page, cursor):
        yield one.vms


def get(cluster: Cluster, fleet: str, index: int) -> VmDetail:
    if not 0 <= index <= MAX_INDEX:
        raise InvalidArgument(f"an index is 0 to {MAX_INDEX:,}; got {index}")
    answer = cluster.call(lambda stub: stub.GetVm, wire.GetVmRequest(fleet=fleet, index=index))
    identity = _identity(answer.fleet)
    return VmDetail(
        fleet=identity.name, index=answer.index, name=identity.domain_name(answer.index),
        state=vm_state(answer.state), host=answer.host, generation=answer.generation,
        powered_off=answer.powered_off, unplaced_reason=answer.unplaced_reason,
        problem=answer.problem.kind, message=answer,
    )  # fmt: skip


def control(
    cluster: Cluster,
    action: VmAction | str,
    choice: VmChoice,
    everything: bool,
    plan_only: bool,
    token: str,
) -> Controlled:
    """Raises MegafleetError; InvalidArgument where it would be all VMs, and nobody said so."""
    chosen = choice.indices is not None or choice.state or choice.host
    if bool(chosen) == everything:
        raise InvalidArgument("say which VMs: by indices, state or host; or everything=True")
    try:
        number = action_number(action)
    except ValueError as error:
        raise InvalidArgument(f"{str(action)[:40]!r} is nothing that is done to VMs") from error
    request = wire.ControlVmsRequest(
        fleet=choice.fleet, action=number, state=_state(choice.state), host=choice.host,
        indices=to_wire(_indices(choice.indices)) if choice.indices is not None else (),
        plan_only=plan_only, plan_token=token,
    )  # fmt: skip
    if plan_only:
        answer = cluster.call(lambda stub: stub.ControlVms, request)
    else:
        answer = cluster.change(lambda stub: stub.ControlVms, request)
    change = "" if plan_only else cluster.change_id
    return Controlled(answer.vms, answer.hosts, answer.token, change, answer)


def _page(answer: wire.ListVmsResponse) -> VmPage:
    shared = _Shared(
        _identity(answer.fleet), tuple(answer.hosts), tuple(answer.reasons),
        {one.generation: tuple(one.prefixes) for one in answer.networks},
    )  # fmt: skip
    rows = tuple(Vm(row.index, row, shared) for row in answer.vms)
    return VmPage(shared.fleet.name, rows, answer.matching, answer.next_cursor, answer)


def _identity(message: types.FleetIdentity) -> Identity:
    return Identity(message.uid, message.name, message.number, message.site)


def _indices(given: Indices | None) -> IndexSet:
    """Raises InvalidArgument for none, or for what is no index: to the wire, none are all."""
    try:
        if isinstance(given, str):
            found = parse_ranges(given)
        else:
            found = IndexSet.of([given] if isinstance(given, int) else given or ())
    except ValueError as error:
        raise InvalidArgument(str(error)) from error
    if not found:
        raise InvalidArgument("no index is given: none of the VMs is meant")
    if found.ranges[-1][1] > MAX_INDEX + 1:
        raise InvalidArgument(f"an index is at most {MAX_INDEX:,}; got {found.ranges[-1][1] - 1}")
    return found


def _state(state: VmState | str | None) -> types.VmState.ValueType:
    try:
        return state_number(state)
    except ValueError as error:
        raise InvalidArgument(f"{str(state)[:40]!r} is no state of VMs") from error


def _address(fleet: Identity, index: int, prefix: str) -> str | None:
    """None without a prefix, or where it is too small."""
    try:
        return fleet.address(index, prefix) if prefix else None
    except ValueError:
        return None


def _at(texts: Sequence[str], position: int) -> str:
    """Empty where a controller names none that it has sent."""
    return texts[position] if position < len(texts) else ""
