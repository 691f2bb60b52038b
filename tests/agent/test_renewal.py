"""When a certificate is renewed, in virtual time; keys and certificates are real."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import ParamSpec, TypeVar

from fleet.certificates.certificate import read_certificate
from fleet.certificates.host_issuer import HostIssuer
from fleet.certificates.signing_request import checked, make_request
from fleet.v1 import joining_pb2 as wire
from fleet_agent.joining.identity_folder import IdentityFolder
from fleet_agent.joining.renewal import CannotRenew, Renewal
from fleetctl.local.certificate_authority import Authority
from tests.certificates import authority
from tests.doubles.joining_hosts import issuer_in, issuing_folder
from tests.virtual_loop import virtual

DAY = 86_400.0
P = ParamSpec("P")
T = TypeVar("T")
NOW = datetime.now(UTC)


class Controllers:
    """Two, of which either may fail; they sign with a real key, as of the virtual time."""

    def __init__(self, folder: Path, host: IdentityFolder) -> None:
        self.began = asyncio.get_running_loop().time()
        self.trusted = authority().certificate
        issuing_folder(folder)
        self.issuer = HostIssuer(folder, lambda: self.trusted, timedelta(days=14))
        self.asked: list[tuple[str, float]] = []  # endpoint, and days since the beginning
        self.failing: set[str] = set()
        self.sign_for = "h1"
        signing = checked(make_request("h1", host.key()))
        host.save(self.issuer.issue(signing, NOW), self.trusted)

    @property
    def days(self) -> float:
        return (asyncio.get_running_loop().time() - self.began) / DAY

    def wall(self) -> float:
        return NOW.timestamp() + self.days * DAY

    async def renew(self, endpoint: str, request: wire.RenewRequest) -> wire.RenewResponse:
        self.asked.append((endpoint, self.days))
        if endpoint in self.failing:
            raise CannotRenew(f"{endpoint} is silent")
        made = self.issuer.issue(
            checked(request.signing_request), datetime.fromtimestamp(self.wall(), UTC)
        )
        return wire.RenewResponse(certificates=made, authorities=self.trusted)


@asynccontextmanager
async def renewing(
    folder: Path, jitter: float = 0.5
) -> AsyncIterator[tuple[Renewal, Controllers, IdentityFolder, list[bytes]]]:
    host = IdentityFolder(folder / "identity")
    controllers, renewed = Controllers(folder / "issuing", host), list[bytes]()
    renewal = Renewal(
        "h1", host, controllers, lambda: ["c1:1", "c2:1"], renewed.append, controllers.wall,
        lambda: jitter, at_once,
    )  # fmt: skip
    running = asyncio.create_task(renewal.run())
    try:
        yield renewal, controllers, host, renewed
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def at_once(function: Callable[P, T], /, *of: P.args, **named: P.kwargs) -> T:
    """There are no threads in virtual time."""
    return function(*of, **named)


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(30_000):
        if condition():
            return
        await asyncio.sleep(60)
    raise AssertionError("not within three weeks")


def own(host: IdentityFolder) -> bytes:
    return (host.path / "cert.pem").read_bytes()


@virtual
async def test_it_renews_at_two_thirds_of_its_life_again_and_again(tmp_path: Path) -> None:
    async with renewing(tmp_path) as (renewal, controllers, host, renewed):
        key = host.key()
        renewal.told(controllers.issuer.trust)
        await until(lambda: len(renewed) == 1)
        assert 9.0 < controllers.days < 9.3
        assert own(host) == renewed[0] and host.key() == key
        assert read_certificate(renewed[0]).not_after.timestamp() > NOW.timestamp() + 23 * DAY


@virtual
async def test_nothing_is_renewed_before_a_controller_has_said_that_it_does(
    tmp_path: Path,
) -> None:
    async with renewing(tmp_path) as (_, controllers, _, renewed):
        await asyncio.sleep(20 * DAY)
        assert not renewed and not controllers.asked


@virtual
async def test_where_nobody_answers_it_is_tried_ever_more_seldom_at_each(tmp_path: Path) -> None:
    async with renewing(tmp_path) as (renewal, controllers, _, renewed):
        controllers.failing = {"c1:1", "c2:1"}
        renewal.told(controllers.issuer.trust)
        await until(lambda: len(controllers.asked) >= 16)
        times = [days * DAY for endpoint, days in controllers.asked if endpoint == "c1:1"]
        waits = [later - before for before, later in pairwise(times)]
        assert waits == sorted(waits) and waits[0] < 30 and waits[-1] > 600
        controllers.failing = {"c1:1"}
        await until(lambda: len(renewed) == 1)
        assert controllers.asked[-1][0] == "c2:1"


@virtual
async def test_another_authority_or_issuing_key_is_a_reason_to_renew_soon(tmp_path: Path) -> None:
    async with renewing(tmp_path) as (renewal, controllers, host, renewed):
        renewal.told(controllers.issuer.trust)
        await asyncio.sleep(60)
        assert not renewed
        controllers.trusted += Authority.create("next").certificate
        renewal.told(controllers.issuer.trust)
        await until(lambda: len(renewed) == 1)
        assert (host.path / "ca.pem").read_bytes() == controllers.trusted
        issuing_folder(tmp_path / "issuing")
        renewal.told(controllers.issuer.trust)
        await until(lambda: len(renewed) == 2)
        assert controllers.days * DAY < 300
        await asyncio.sleep(DAY)
        assert len(renewed) == 2, "it has what it is to have"


@virtual
async def test_while_it_rests_after_failures_it_hears_that_others_are_to_be_trusted(
    tmp_path: Path,
) -> None:
    async with renewing(tmp_path) as (renewal, controllers, _, renewed):
        controllers.failing = {"c1:1", "c2:1"}
        renewal.told(controllers.issuer.trust)
        await until(lambda: len(controllers.asked) >= 24)  # it rests an hour by now
        controllers.failing = set()
        controllers.trusted += Authority.create("next").certificate
        at = controllers.days
        renewal.told(controllers.issuer.trust)
        await until(lambda: len(renewed) == 1)
        assert (controllers.days - at) * DAY < 300


@virtual
async def test_one_that_was_signed_and_is_not_as_it_is_to_be_is_asked_for_ever_more_seldom(
    tmp_path: Path,
) -> None:
    """The controllers that sign have not heard yet what the leader tells hosts to trust."""
    async with renewing(tmp_path) as (renewal, controllers, _, renewed):
        before = controllers.trusted
        controllers.trusted = before + Authority.create("next").certificate
        trust = controllers.issuer.trust
        controllers.trusted = before
        renewal.told(trust)
        await until(lambda: len(renewed) >= 8)
        times = [days * DAY for _, days in controllers.asked]
        waits = [later - earlier for earlier, later in pairwise(times)]
        assert waits == sorted(waits) and waits[-1] > 600
        controllers.trusted = before + Authority.create("later").certificate
        count, at = len(renewed), controllers.days
        renewal.told(controllers.issuer.trust)
        await until(lambda: len(renewed) > count)
        assert (controllers.days - at) * DAY < 300
        await asyncio.sleep(DAY)
        assert len(renewed) == count + 1


@virtual
async def test_an_answer_that_is_not_for_this_host_takes_no_place(tmp_path: Path) -> None:
    async with renewing(tmp_path) as (renewal, controllers, host, renewed):
        before = own(host)
        stranger = Authority.create("stranger")

        async def lies(endpoint: str, request: wire.RenewRequest) -> wire.RenewResponse:
            controllers.asked.append((endpoint, controllers.days))
            other = make_request("h2", host.key())
            made = controllers.issuer.issue(checked(other), NOW)
            return wire.RenewResponse(certificates=made, authorities=stranger.certificate)

        controllers.renew = lies  # type: ignore[method-assign]
        controllers.trusted += stranger.certificate
        renewal.told(controllers.issuer.trust)
        await until(lambda: len(controllers.asked) >= 2)
        assert own(host) == before and not renewed


def test_the_issuer_of_the_tests_is_one(tmp_path: Path) -> None:
    assert issuer_in(tmp_path).trust.issuing
