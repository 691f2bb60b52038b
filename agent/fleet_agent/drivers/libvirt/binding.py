"""The part of libvirt-python that the driver uses, with types; and its process-wide event loop."""

from __future__ import annotations

import functools
import importlib
import threading
import time
from collections.abc import Callable
from typing import Protocol, cast

from fleet_agent.drivers.ports.errors import DriverError, told_defect

# Seconds after libvirt's event loop has failed, until it is run again.
_EVENTS_AGAIN = 1.0


class LibvirtError(Protocol):
    """libvirt.libvirtError, as far as it is read."""

    def get_error_code(self) -> int | None: ...

    def get_error_message(self) -> str | None: ...


class Domain(Protocol):
    """libvirt.virDomain. ID() is -1 when inactive; name(), ID() and UUIDString() cost no round
    trip."""

    def name(self) -> str: ...

    def ID(self) -> int: ...

    def UUIDString(self) -> str: ...

    def info(self) -> list[int]: ...

    def isActive(self) -> int: ...

    def state(self, flags: int = 0) -> list[int]: ...

    def resume(self) -> int: ...

    def XMLDesc(self, flags: int = 0) -> str: ...

    def createWithFlags(self, flags: int = 0) -> int: ...

    def destroy(self) -> int: ...

    def undefineFlags(self, flags: int = 0) -> int: ...

    def setMetadata(
        self, type: int, metadata: str | None, key: str, uri: str, flags: int = 0
    ) -> int: ...


class Connection(Protocol):
    """libvirt.virConnect. isAlive() and close() cost no round trip."""

    def isAlive(self) -> int: ...

    def close(self) -> int: ...

    def getType(self) -> str: ...

    def getVersion(self) -> int: ...

    def getLibVersion(self) -> int: ...

    def getInfo(self) -> list[int]: ...

    def getFreeMemory(self) -> int: ...

    def getAllDomainStats(
        self, stats: int = 0, flags: int = 0
    ) -> list[tuple[Domain, dict[str, int | str]]]: ...

    def listAllDomains(self, flags: int = 0) -> list[Domain]: ...

    def lookupByName(self, name: str) -> Domain: ...

    def lookupByUUIDString(self, uuidstr: str) -> Domain: ...

    def defineXML(self, xml: str) -> Domain: ...

    def getDomainCapabilities(
        self,
        emulatorbin: str | None = None,
        arch: str | None = None,
        machine: str | None = None,
        virttype: str | None = None,
        flags: int = 0,
    ) -> str: ...

    def setKeepAlive(self, interval: int, count: int) -> int: ...

    def registerCloseCallback(self, cb: Callable[..., None], opaque: object) -> int: ...

    def unregisterCloseCallback(self) -> int: ...

    def domainEventRegisterAny(
        self, dom: None, eventID: int, cb: Callable[..., None], opaque: object
    ) -> int: ...

    def domainEventDeregisterAny(self, callbackID: int) -> int: ...


class Binding(Protocol):
    """The libvirt module."""

    libvirtError: type[Exception]
    VIR_ERR_ARGUMENT_UNSUPPORTED: int
    VIR_ERR_NO_DOMAIN: int
    VIR_ERR_NO_SUPPORT: int
    VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE: int
    VIR_CONNECT_LIST_DOMAINS_ACTIVE: int
    VIR_CONNECT_LIST_DOMAINS_OTHER: int
    VIR_CONNECT_LIST_DOMAINS_PAUSED: int
    VIR_DOMAIN_AFFECT_CONFIG: int
    VIR_DOMAIN_AFFECT_LIVE: int
    VIR_DOMAIN_EVENT_ID_LIFECYCLE: int
    VIR_DOMAIN_METADATA_ELEMENT: int
    VIR_DOMAIN_UNDEFINE_MANAGED_SAVE: int
    VIR_DOMAIN_UNDEFINE_NVRAM: int
    VIR_DOMAIN_XML_INACTIVE: int

    def open(self, name: str) -> Connection: ...

    def registerErrorHandler(self, f: Callable[..., None], ctx: object) -> None: ...

    def virEventRegisterDefaultImpl(self) -> int: ...

    def virEventRunDefaultImpl(self) -> int: ...


@functools.cache
def load() -> Binding:
    """The module, its event loop running in a thread of its own: both once a process.

    Raises DriverError when libvirt-python is not installed.
    """
    try:
        binding = cast(Binding, importlib.import_module("libvirt"))
    except ImportError as error:
        raise DriverError(
            f"libvirt's Python binding does not load ({error}); install python3-libvirt"
        ) from error
    # Errors arrive as exceptions; the default handler would print each to stderr as well.
    binding.registerErrorHandler(_ignore, None)
    binding.virEventRegisterDefaultImpl()
    # A daemon: libvirt offers no way to wake its event loop for good.
    threading.Thread(
        target=_run_events, args=(binding,), name="libvirt-events", daemon=True
    ).start()
    return binding


def message_of(error: Exception) -> str:
    """What libvirt says went wrong, without the prefix of the call."""
    return cast(LibvirtError, error).get_error_message() or str(error)


def code_of(error: Exception) -> int | None:
    """One of libvirt's VIR_ERR_ codes."""
    return cast(LibvirtError, error).get_error_code()


def _ignore(_context: object, _error: object) -> None:
    return None


def _run_events(binding: Binding) -> None:
    while True:
        try:
            binding.virEventRunDefaultImpl()
        except Exception as error:
            told_defect("libvirt's event loop", error)
            time.sleep(_EVENTS_AGAIN)  # what goes wrong each time is not to take a processor
