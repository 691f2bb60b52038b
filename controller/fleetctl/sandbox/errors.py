"""What can go wrong with a sandbox, as one sentence for people."""

from __future__ import annotations

from fleetctl.outcome import ExitCode, Failed


class SandboxError(Failed):
    """The sandbox cannot be brought up, found or stopped: what failed, where, what to do."""


class SandboxBusyError(SandboxError):
    """Another fleetctl is working on this sandbox."""


class SandboxConflictError(SandboxError):
    """The sandbox exists with other settings than those asked for."""

    code = ExitCode.USAGE


class SandboxLateError(SandboxError):
    """The sandbox is up, but not all of its hosts are live within the timeout."""

    code = ExitCode.NOT_CONVERGED
