"""Starts the processes of a sandbox that do not run, and awaits them."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass, replace

from fleetctl.output import counted
from fleetctl.sandbox.errors import SandboxError, SandboxLateError
from fleetctl.sandbox.phases import Phases
from fleetctl.sandbox.planning.machine import descriptor_limit
from fleetctl.sandbox.planning.room import check_room
from fleetctl.sandbox.processes.etcd_membership import replace_member
from fleetctl.sandbox.processes.libvirt_daemons import DAEMONS, here, lift_core_limit
from fleetctl.sandbox.processes.parts import Part, agent_settings
from fleetctl.sandbox.processes.process import (
    Process,
    daemon_environment,
    start,
    stop,
    uninterrupted,
)
from fleetctl.sandbox.processes.readiness import (
    LOOK_SECONDS,
    controller_serves,
    etcd_is_healthy,
    host_counts,
    until,
)
from fleetctl.sandbox.state.context import context_of
from fleetctl.sandbox.state.folder import Folder
from fleetctl.sandbox.state.identities import Identities, agents_issued, issue_agents
from fleetctl.sandbox.state.record import LOOPBACK, Record
from megafleet.connection.cluster import Cluster

ETCD_SECONDS = 60.0
CONTROLLER_SECONDS = 60.0
DAEMON_SECONDS = 60.0
# For all links: a floor, and what a slow machine may take for each host.
LINKS_SECONDS = 60.0
STATUS_SECONDS = 5.0
LINK_SECONDS = 0.05


@dataclass(slots=True)
class StartUp:
    """One `up` under way. `running` are its processes by part; those it starts are added."""

    folder: Folder
    record: Record
    parts: list[Part]
    running: dict[str, Process]
    phases: Phases

    @property
    def identities(self) -> Identities:
        return Identities(self.folder.certificates)

    def run(self) -> None:
        """Starts what is missing, and returns once every link is live. Raises SandboxLateError
        when hosts are still missing at the deadline, SandboxError when a process ends."""
        self._forget_with_the_store()
        self._start_missing()
        self._await_links()

    def _forget_with_the_store(self) -> None:
        """A store in memory ends with its controller. Hosts that obeyed it would be ahead of the
        next one, so they start afresh."""
        alive = any(replica.name in self.running for replica in self.record.controllers)
        if self.record.durable or alive or not self.running:
            return
        self.phases.note("  the store in memory ended with its controller: hosts start afresh")
        stop(list(self.running.values()))
        self.running.clear()

    def _start_missing(self) -> None:
        """Makes certificates while etcd starts, and lets hosts begin to listen while the
        controller starts."""
        etcd, controllers, hollow, agents, daemons = (
            [part for part in self.parts if part.kind == kind and part.name not in self.running]
            for kind in ("etcd", "controller", "hollow", "agent", "libvirt")
        )
        new = sum(not self.folder.state_of(part.name).exists() for part in etcd)
        here = self.folder.certificates.parent
        check_room(descriptor_limit(), shutil.disk_usage(here).free, new, str(here))
        emptied = self._emptied_members()
        whole = [part for part in etcd if part.name not in emptied]
        for part in (*whole, *daemons):
            self._start(part)
        for part in daemons:
            lift_core_limit(self.running[part.name].pid)
        self._issue_agents()
        for part in whole:
            self._await_etcd(part)
        for part in etcd:
            if part.name in emptied:
                self._replace_member(part)
        for part in daemons:
            self._await_daemon(part)
        for part in (*controllers, *hollow):
            self._start(part)
        for part in agents:
            self._settle(part)
            self._start(part)
        for part in controllers:
            self._await_controller(part)

    def _emptied_members(self) -> set[str]:
        """Members of etcd whose data is gone, while that of another is there. Raises SandboxError
        where those that are left are no quorum."""
        members = [member.name for member in self.record.etcd]
        whole = {name for name in members if (self.folder.state_of(name) / "member").is_dir()}
        emptied = set(members) - whole
        if whole and emptied and len(whole) <= len(members) // 2:
            raise SandboxError(
                f"the data of {', '.join(sorted(emptied))} is gone, and what is left of etcd is no "
                "quorum: 'fleetctl sandbox down' and 'up' begin with an empty store"
            )
        return emptied if whole else set()

    def _replace_member(self, part: Part) -> None:
        """The cluster forgets it and takes it in anew; the others have all of the data."""
        mine = next(one for one in self.record.etcd if one.name == part.name)
        other = next(one for one in self.parts if one.kind == "etcd" and one.name in self.running)
        client = self.identities.etcd_client
        self.phases.note(f"  the data of {part.name} is gone: it is taken in anew by the others")
        replace_member(other.address, client, part.name, f"https://{LOOPBACK}:{mine.peer_port}")
        argv = [
            "--initial-cluster-state=existing" if one == "--initial-cluster-state=new" else one
            for one in part.argv
        ]
        self._start(replace(part, argv=argv))
        self._await_etcd(part)

    def _start(self, part: Part) -> None:
        self.folder.state_of(part.name).mkdir(exist_ok=True, mode=0o700)
        self.folder.ready_file(part.name).unlink(missing_ok=True)
        environment = {**daemon_environment(os.environ), **part.environment}
        log = self.folder.log_of(part.name)
        # A process that has started is one that is known, and so stopped if this goes wrong.
        with uninterrupted():
            self.running[part.name] = start(part.name, part.argv, self.record.id, log, environment)

    def _settle(self, part: Part) -> None:
        """The settings file of a real host's agent: its controllers may have other ports by now."""
        state = self.folder.state_of(part.name)
        state.mkdir(exist_ok=True, mode=0o700)
        (state / "agent.toml").write_text(agent_settings(self.record, self.folder))

    def _issue_agents(self) -> None:
        hollow = sum(one.last - one.first + 1 for one in self.record.hollow)
        if agents_issued(self.identities):
            return
        with self.phases.phase("certificates") as phase:
            issue_agents(hollow, self.identities)
            phase.outcome = f"certificates for {counted(self.record.hosts, 'host')}"

    def _await_daemon(self, part: Part) -> None:
        daemon = next(one for one in DAEMONS if one == part.name)
        with self.phases.phase(f"{part.name} starts") as phase:
            until(
                lambda: here().answers(daemon),
                self.running[part.name],
                DAEMON_SECONDS,
                self.folder.log_of(part.name),
                "served",
            )
            phase.outcome = f"{part.name} serves; nobody had started it here"

    def _await_etcd(self, part: Part) -> None:
        client = self.identities.etcd_client
        with self.phases.phase(f"{part.name} starts") as phase:
            until(
                lambda: etcd_is_healthy(part.address, client),
                self.running[part.name],
                ETCD_SECONDS,
                self.folder.log_of(part.name),
                "served",
            )
            phase.outcome = f"{part.name} serves on {part.address}"

    def _await_controller(self, part: Part) -> None:
        process = self.running[part.name]
        ready = self.folder.ready_file(part.name)
        with self.phases.phase(f"{part.name} starts") as phase:
            until(
                lambda: controller_serves(ready, process.pid),
                process,
                CONTROLLER_SECONDS,
                self.folder.log_of(part.name),
                "served",
            )
            phase.outcome = f"{part.name} serves on {part.address}"

    def _await_links(self) -> None:
        """Until the controller counts every host live."""
        wanted = self.record.hosts
        deadline = time.monotonic() + LINKS_SECONDS + LINK_SECONDS * wanted
        controller = self.running[self.record.controllers[0].name]
        link = Cluster(context_of(self.record, self.folder), STATUS_SECONDS)
        with self.phases.phase("hosts connect") as phase:
            live = 0
            while live < wanted:
                counts = host_counts(link)
                live = counts.live if counts else live
                phase.show(f"{live:,} of {wanted:,} hosts are live")
                if live < wanted:
                    self._check_time(deadline, live)
                    controller.ends_within(LOOK_SECONDS)
                    self._check_alive()
            phase.outcome = f"{counted(live, 'host')} live"

    def _check_time(self, deadline: float, live: int) -> None:
        if time.monotonic() > deadline:
            raise SandboxLateError(
                f"{live:,} of {self.record.hosts:,} hosts are live, the others still connect; "
                f"the logs are in {self.folder.log_of('').parent}"
            )

    def _check_alive(self) -> None:
        for process in self.running.values():
            if process.ends_within(0):
                log = self.folder.log_of(process.part)
                until(lambda: False, process, 0, log, "was connected")
