"""Which hosts a command is for: named, by label, or all; and asking many of them at a bounded
width."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import click

from fleetctl.cli.arguments import label
from fleetctl.outcome import Failed, Misuse, Trouble
from fleetctl.output import counted
from fleetctl.session import Session

if TYPE_CHECKING:
    from megafleet.connection.cluster import Cluster

# Hosts asked at the same time. The leader passes each on by itself.
WIDTH = 16
PAGE = 10_000

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Choice:
    """As it was typed."""

    hosts: tuple[str, ...]
    labels: tuple[tuple[str, str], ...]
    everything: bool

    @property
    def of_many(self) -> bool:
        """Whether many are meant, though it may be one in the end: the outcome is a table then."""
        return len(self.hosts) > 1 or bool(self.labels) or self.everything

    @property
    def one(self) -> str:
        """The host that is meant; empty: the only one there is."""
        return self.hosts[0] if self.hosts else ""


def several_hosts(*, argument: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """HOST... (or --host, several times), --label and --all; the command gets `choice`."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(command)
        def called(*args: Any, **kwargs: Any) -> Any:
            hosts = tuple(dict.fromkeys(kwargs.pop("hosts")))
            choice = Choice(hosts, kwargs.pop("labels"), kwargs.pop("everything"))
            if bool(hosts) + bool(choice.labels) + choice.everything > 1:
                raise Misuse("name hosts, or --label, or --all: one of the three")
            return command(*args, choice=choice, **kwargs)

        named: Callable[[Any], Any]
        if argument:
            named = click.argument("hosts", metavar="[HOST]...", nargs=-1)
        else:
            named = click.option(
                "--host", "hosts", metavar="HOST", multiple=True,
                help="This host; may be given several times, or left out while there is only one.",
            )  # fmt: skip
        labelled = click.option(
            "--label", "labels", metavar="NAME=VALUE", type=label, multiple=True,
            help="All live hosts with this label; with all of them where there are several.",
        )  # fmt: skip
        all_ = click.option("--all", "everything", is_flag=True, help="All live hosts.")
        return named(labelled(all_(called)))

    return decorate


def chosen(session: Session, choice: Choice) -> list[str]:
    """Names of the hosts, sorted unless they were typed. Raises Trouble."""
    if choice.hosts:
        return list(choice.hosts)
    live = _live(session, choice)
    if choice.of_many:
        if not live:
            said = ", ".join(f"{key}={value}" for key, value in choice.labels)
            raise Failed(f"no live host is labelled {said}" if said else "there is no live host")
        return live
    if len(live) != 1:
        raise Misuse(
            f"there are {counted(len(live), 'live host')}: name some, or give --label or --all"
        )
    return live


def live_host(session: Session, hosts: Sequence[str]) -> str:
    """The first of these hosts that is live. Raises Trouble."""
    if len(hosts) == 1:
        return hosts[0]
    live = set(_live(session, Choice((), (), True)))
    found = next((host for host in hosts if host in live), None)
    if found is None:
        raise Failed(f"none of the {len(hosts):,} hosts is live")
    return found


def _live(session: Session, choice: Choice) -> list[str]:
    from fleet.v1 import cluster_pb2

    found: list[str] = []
    cursor = ""
    while True:
        answer = session.cluster.call(
            lambda stub: stub.ListHosts,
            cluster_pb2.ListHostsRequest(
                health=cluster_pb2.HOST_HEALTH_LIVE,
                cursor=cursor,
                limit=PAGE,
                selector=dict(choice.labels),
            ),
        )
        found += [one.id for one in answer.hosts]
        cursor = answer.next_cursor
        if not cursor:
            return sorted(found)


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Answer]):
    """What one host answered, or why not."""

    host: str
    answer: Answer | None
    trouble: str = ""


def ask_each(
    session: Session,
    hosts: Sequence[str],
    ask: Callable[[Cluster, str], Answer],
    tell: Callable[[int], None],
) -> list[Outcome[Answer]]:
    """Each host, WIDTH at the same time, in their order, as one change. `tell` hears how many have
    answered. Each thread has a connection of its own. What interrupts it waits for none of them:
    calls under way end with the process."""
    import copy
    import threading
    from concurrent.futures import ThreadPoolExecutor, as_completed

    own = threading.local()
    whole = session.cluster  # resolved once, and its trouble told here

    def asked(host: str) -> Outcome[Answer]:
        if not hasattr(own, "session"):
            own.session = copy.copy(session)
            own.session.__dict__.pop("cluster", None)
            own.session.cluster.change_id = whole.change_id
        try:
            return Outcome(host, ask(own.session.cluster, host))
        except Trouble as trouble:
            return Outcome(host, None, trouble.message)
        finally:
            if own.session.cluster.changed:
                whole.changed = True

    found: dict[str, Outcome[Answer]] = {}
    pool = ThreadPoolExecutor(WIDTH, "hosts")
    futures = [pool.submit(asked, host) for host in hosts]
    try:
        for future in as_completed(futures):
            found[future.result().host] = future.result()
            tell(len(found))
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()
    return [found[host] for host in hosts]


def alike(
    outcomes: Iterable[Outcome[Answer]], words: Callable[[Answer], str]
) -> list[tuple[str, list[str]]]:
    """What was answered, in words, with the hosts that agree; the most hosts first."""
    groups: dict[str, list[str]] = {}
    for one in outcomes:
        said = one.trouble if one.answer is None else words(one.answer)
        groups.setdefault(said, []).append(one.host)
    return sorted(groups.items(), key=lambda group: (-len(group[1]), group[1]))
