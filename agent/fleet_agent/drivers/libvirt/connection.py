"""The one connection to libvirt: opened when first needed, opened again when it was lost."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from fleet_agent.drivers.libvirt import binding as libvirt_binding
from fleet_agent.drivers.libvirt.binding import Binding, Connection, Domain
from fleet_agent.drivers.libvirt.events import Expected
from fleet_agent.drivers.ports.errors import DriverError

# Seconds between probes of an idle connection, and how many may go unanswered: a libvirtd on an
# overloaded dom0 answers late, one that hangs is given up after a minute.
KEEPALIVE_INTERVAL = 10
KEEPALIVE_COUNT = 6

Connect = Callable[[str], Connection]


class LibvirtConnection:
    """Hands out the connection to any thread. `stirred` is called, from any thread, on each
    lifecycle event that is news, and when the connection is lost; `renewed` whenever it was made
    anew, since events may be lost then. What is expected is no news."""

    def __init__(
        self,
        uri: str,
        connect: Connect | None,
        stirred: Callable[[], None],
        renewed: Callable[[], None],
    ) -> None:
        self.expected = Expected()
        self._uri = uri
        self._connect = connect
        self._stirred = stirred
        self._renewed = renewed
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._callback = -1
        self._connected_before = False

    @property
    def binding(self) -> Binding:
        """Raises DriverError."""
        return libvirt_binding.load()

    @contextlib.contextmanager
    def talk(self) -> Iterator[Connection]:
        """The connection, for some calls. libvirt's errors pass, but for those of a connection
        that turned out to be lost: DriverError."""
        connection = self._living()
        try:
            yield connection
        except self.binding.libvirtError as error:
            if self._alive(connection):
                raise
            raise DriverError(
                f"the connection to libvirt at {self._uri} was lost: "
                f"{libvirt_binding.message_of(error)}"
            ) from error

    def close(self) -> None:
        """Close the connection, if there is one. The next talk() would open it again."""
        with self._lock:
            self._release()

    def _living(self) -> Connection:
        with self._lock:
            if self._connection is not None and self._alive(self._connection):
                return self._connection
            self._release()
            self.expected.withdraw_all()
            connection = self._connection = self._opened()
            again, self._connected_before = self._connected_before, True
        if again:
            self._renewed()
        return connection

    def _opened(self) -> Connection:
        binding = self.binding
        try:
            connection = (self._connect or binding.open)(self._uri)
            self._keep_alive(connection)
            self._hear_its_end(connection)
            self._callback = connection.domainEventRegisterAny(
                None, binding.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._on_event, None
            )
        except binding.libvirtError as error:
            raise DriverError(
                f"cannot reach libvirt at {self._uri}: {libvirt_binding.message_of(error)}; "
                "is libvirtd running, and may this user use it?"
            ) from error
        return connection

    def _keep_alive(self, connection: Connection) -> None:
        try:
            connection.setKeepAlive(KEEPALIVE_INTERVAL, KEEPALIVE_COUNT)
        except self.binding.libvirtError as error:
            # Drivers that live in this process have no connection to probe.
            if libvirt_binding.code_of(error) != self.binding.VIR_ERR_NO_SUPPORT:
                raise

    def _hear_its_end(self, connection: Connection) -> None:
        try:
            connection.registerCloseCallback(self._on_close, None)
        except self.binding.libvirtError as error:
            # Drivers that live in this process end with it.
            if libvirt_binding.code_of(error) != self.binding.VIR_ERR_NO_SUPPORT:
                raise

    def _release(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        # Of a connection already lost, neither call can do more than drop what is here.
        with contextlib.suppress(self.binding.libvirtError):
            connection.unregisterCloseCallback()
        with contextlib.suppress(self.binding.libvirtError):
            connection.domainEventDeregisterAny(self._callback)
        with contextlib.suppress(self.binding.libvirtError):
            connection.close()

    def _alive(self, connection: Connection) -> bool:
        try:
            return connection.isAlive() == 1
        except self.binding.libvirtError:
            return False

    def _on_close(self, _connection: object, _reason: int, _opaque: object) -> None:
        """libvirtd has ended, or does not answer: what runs is asked for once it is there again."""
        self._stirred()

    def _on_event(
        self, _connection: object, domain: Domain, event: int, _detail: int, _opaque: object
    ) -> None:
        if self.expected.is_news(domain.name(), event):
            self._stirred()
