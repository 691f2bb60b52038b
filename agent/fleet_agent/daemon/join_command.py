"""fleet-agent join: a machine becomes a host by a token, once. And an agent that starts without a
certificate, on a machine with a token on the kernel's command line."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import structlog

from fleet.certificates.certificate import read_certificate
from fleet_agent.controllers import known_controllers
from fleet_agent.daemon import host_identity
from fleet_agent.daemon.joined_settings import as_kept, below
from fleet_agent.daemon.running.long_start import still_starting
from fleet_agent.daemon.settings import BadSettings, Settings, controllers_file, of_options, parser
from fleet_agent.joining.identity_folder import IdentityFolder
from fleet_agent.joining.joining import (
    Joined,
    JoinFailed,
    JoinRefused,
    Machine,
    join,
    join_at_last,
    longest_seconds,
)
from fleet_agent.joining.token_sources import (
    Invitation,
    NoToken,
    endpoints,
    kernel_command_line,
    on_command_line,
    token_in,
)

log = structlog.get_logger()

MISTAKES = (NoToken, JoinRefused, JoinFailed)
_RETRY_SECONDS = 1.0
# What an agent that has joined late has to start in: as much as its unit gives one that need not
# join (TimeoutStartSec of fleet-agent.service).
START_SECONDS = 300.0
# A machine that is busy comes to it later.
_SPARE_SECONDS = 30.0


def join_parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        "fleet-agent join",
        parents=[parser(add_help=False)],
        conflict_handler="resolve",
        description="Make this machine a host: its key is made here, its certificate comes from "
        "the controllers, and the agent that is started next finds both. Other flags are "
        "those of the agent.",
        epilog="Without --token-file, the token of the kernel's command line is taken: "
        "megafleet.token=, megafleet.controllers=, megafleet.name=.",
    )
    add = made.add_argument
    add("--controllers", metavar="HOST:PORT,...", help="where machines join (--join-listen there)")
    add(
        "--token-file", type=Path, metavar="FILE",
        help="with what 'fleetctl tokens create' printed; - for stdin",
    )  # fmt: skip
    add("--name", default="", help="of the host; this machine's own name otherwise")
    add("--timeout", type=float, default=120.0, metavar="SECONDS", help="how long it is tried")
    add("--again", action="store_true", help="also where there is a certificate that is good")
    return made


def run_join(arguments: Sequence[str]) -> None:
    """Raises what is in MISTAKES, BadSettings, HostError, OSError."""
    options = join_parser().parse_args(list(arguments))
    asked = of_options(options, joins=True)
    folder = IdentityFolder(Path(asked.identity))
    if not options.again and (name := good_until_now(folder.path)):
        print(f"this machine is the host {name} already; --again has it join anew")
        return
    invitation = _invitation(options)
    machine = _machine(options.name or invitation.name, folder)
    joined = asyncio.run(_within(options.timeout, invitation, machine))
    keep(asked, folder, joined)
    found = read_certificate(joined.certificates)
    told = {
        "host": joined.host,
        "identity": str(folder.path),
        "controllers": list(joined.controllers),
        "labels": dict(joined.labels),
        "until": found.not_after.isoformat(),
    }
    print(json.dumps(told))


async def _within(seconds: float, invitation: Invitation, machine: Machine) -> Joined:
    """Raises JoinRefused at once, and JoinFailed in the end."""
    until = time.monotonic() + seconds
    while True:
        try:
            return await join(invitation, machine)
        except JoinFailed:
            if time.monotonic() + _RETRY_SECONDS > until:
                raise
        await asyncio.sleep(_RETRY_SECONDS)


async def join_at_start(asked: Settings, notify: Callable[[str], object]) -> None:
    """Where this machine has no certificate that is good, and a token on the kernel's command line:
    join, however long that takes. `notify` tells systemd of it. Raises NoToken, HostError,
    OSError."""
    folder = IdentityFolder(Path(asked.identity))
    if good_until_now(folder.path):
        return
    invitation = on_command_line(kernel_command_line())
    if invitation is None:
        return
    machine = _machine(invitation.name, folder)
    each_try = longest_seconds(invitation) + _SPARE_SECONDS

    def told(why: str, wait: float) -> None:
        log.warning("this machine has not joined", reason=why, again_in=round(wait, 1))
        notify(still_starting(wait + each_try, f"not joined yet: {why}"))

    notify(still_starting(each_try, "joining"))
    joined = await join_at_last(invitation, machine, told, random.random)
    notify(still_starting(START_SECONDS))
    keep(asked, folder, joined)
    log.info("this machine has joined", host=joined.host, labels=dict(joined.labels))


def keep(asked: Settings, folder: IdentityFolder, joined: Joined) -> None:
    """The certificate last: with it this is a host. Raises BadSettings, OSError."""
    try:
        kept = as_kept(joined)
        told = below({}, json.loads(kept)["settings"])
        msgspec.convert(told, Settings)
    except (ValueError, msgspec.ValidationError) as error:
        raise BadSettings(f"the settings that the controllers give: {error}") from error
    file = controllers_file(asked)
    file.parent.mkdir(parents=True, exist_ok=True)
    known_controllers.save(file, known_controllers.after_told({}, joined.controllers, time.time()))
    folder.save_joined(kept)
    folder.save(joined.certificates, joined.authorities)


def good_until_now(folder: Path) -> str:
    """The host that the certificate there names; empty where there is none, or it has ended."""
    try:
        pem = (folder / "cert.pem").read_bytes()
        ends = read_certificate(pem).not_after.timestamp()
        name = host_identity.host_id_of(pem)
    except (OSError, ValueError, host_identity.HostError):
        return ""
    return name if ends > time.time() else ""


def _invitation(options: argparse.Namespace) -> Invitation:
    """Raises NoToken."""
    if options.token_file:
        return Invitation(token_in(options.token_file), endpoints(options.controllers or ""))
    found = on_command_line(kernel_command_line())
    if found is None:
        raise NoToken(
            "there is no token: give one by --token-file FILE, as 'fleetctl tokens create' prints "
            "it, or on the kernel's command line"
        )
    return found


def _machine(name: str, folder: IdentityFolder) -> Machine:
    return Machine(
        name or host_identity.own_name(),
        folder.key(),
        host_identity.machine_id(),
        host_identity.VERSION,
    )
