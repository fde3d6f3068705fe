"""A connection to a message bus (D-Bus), for the services of Linux desktops."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from typing import Any, Final, Literal

from ..errors import ConfigurationError

try:
    from jeepney import (  # type: ignore[import-untyped]
        DBusAddress,
        HeaderFields,
        MatchRule,
        MessageType,
        new_method_call,
    )
    from jeepney.bus_messages import message_bus  # type: ignore[import-untyped]
    from jeepney.io.blocking import DBusConnection, open_dbus_connection  # type: ignore[import-untyped]
except ImportError as _error:
    raise ConfigurationError(
        "services of the desktop are asked by the package jeepney",
        hint="pip install 'axiom-persistence[preferences,gates]'",
    ) from _error

__all__ = ["STOPPED", "Bus", "BusError"]

_REPLY_S: Final = 25.0
"""How long a service may take to answer: what libdbus waits, too."""


STOPPED: Final = "stopped"
"""The name of the error of a call whose ``stop`` was set."""
_LOOK_S: Final = 0.05
_GONE: Final = (OSError, EOFError, ValueError)
"""What a connection raises that the other end has closed; ValueError: this end."""


class BusError(Exception):
    """A service refused, or is not there. Caught by whoever asked, never seen by users.

    ``name`` is the error's name on the bus; empty where the bus itself could not be reached.
    """

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name

    @property
    def is_absence(self) -> bool:
        """Whether nobody offers the service, or the bus is gone."""
        gone = ("ServiceUnknown", "NameHasNoOwner", "NoReply", "Disconnected", "TimedOut")
        return not self.name or self.name.endswith(gone) or ".Spawn." in self.name


class Bus:
    """One connection to the ``session`` or ``system`` bus. Threads take turns at it."""

    def __init__(self, which: Literal["session", "system"]) -> None:
        self._lock = threading.Lock()
        try:
            self._connection: DBusConnection = open_dbus_connection(_address(which))
        except (OSError, EOFError, RuntimeError, ValueError) as error:
            raise BusError("", f"the {which} bus cannot be reached: {error}") from error
        self._signals: deque[Any] = deque(maxlen=1024)
        self._connection.filter(MatchRule(type="signal"), queue=self._signals)

    def close(self) -> None:
        """Idempotent."""
        self._connection.close()

    @property
    def name(self) -> str:
        """What this connection is called on the bus."""
        return str(self._connection.unique_name)

    def call(
        self,
        place: tuple[str, str, str],
        verb: str,
        signature: str = "",
        *body: Any,
        wait: float = _REPLY_S,
        stop: threading.Event | None = None,
    ) -> tuple[Any, ...]:
        """The answer of the service at ``place`` (name, path, interface), given ``wait`` seconds for it.

        ``stop``: once it is set, nobody waits for the answer any more; ``BusError`` is raised.
        """
        name, path, interface = place
        address = DBusAddress(path, bus_name=name, interface=interface)
        return self._ask(new_method_call(address, verb, signature or None, body), wait, stop)

    def listen(
        self, *, interface: str, path: str, sender: str | None = None, below: str | None = None
    ) -> None:
        """Have signals of an object sent here; ``below``: those that tell of a path there."""
        rule = MatchRule(type="signal", interface=interface, path=path, sender=sender)
        if below is not None:
            rule.add_arg_condition(0, below, kind="path")
        self._ask(message_bus.AddMatch(rule), _REPLY_S)

    def has(self, name: str) -> bool:
        """Whether a service is running, or would be started by a call."""
        running, startable = (
            self._ask(ask, _REPLY_S)[0]
            for ask in (message_bus.ListNames(), message_bus.ListActivatableNames())
        )
        return name in running or name in startable

    def owner(self, name: str) -> str:
        """What the connection is called that offers the service ``name``."""
        return str(self._ask(message_bus.GetNameOwner(name), _REPLY_S)[0])

    def signals(self, wait: float = 0.0, sender: str | None = None) -> list[tuple[str, tuple[Any, ...]]]:
        """The signals that have come, each its name and body; waits up to ``wait`` seconds for a first one.

        ``sender``: only those of the connection that is called so. Anybody on the bus may send any signal to
        anybody. Empty while another thread waits for an answer.
        """
        if not self._lock.acquire(blocking=False):
            return []
        try:
            while True:
                self._connection.recv_messages(timeout=0.0 if self._signals else wait)
        except TimeoutError:
            found = [self._signals.popleft() for _ in range(len(self._signals))]
            return [
                (message.header.fields[HeaderFields.member], message.body)
                for message in found
                if sender is None or message.header.fields.get(HeaderFields.sender) == sender
            ]
        except _GONE as error:
            raise BusError("", f"the connection to the bus is gone: {error}") from error
        finally:
            self._lock.release()

    def _reply(self, message: Any, deadline: float, stop: threading.Event | None) -> Any:
        if stop is None:
            return self._connection.send_and_get_reply(message, timeout=deadline - time.monotonic())
        replies: deque[Any] = deque()
        serial = next(self._connection.outgoing_serial)
        with self._connection.filter(_Reply(serial), queue=replies):
            self._connection.send(message, serial=serial)
            while not replies:
                if stop.is_set():
                    raise BusError(STOPPED, "nobody waits for the answer any more")
                if time.monotonic() >= deadline:
                    raise TimeoutError
                try:
                    self._connection.recv_messages(timeout=_LOOK_S)
                except TimeoutError:
                    pass  # look whether to stop
        return replies.popleft()

    def _ask(self, message: Any, wait: float, stop: threading.Event | None = None) -> tuple[Any, ...]:
        try:
            with self._lock:
                reply = self._reply(message, time.monotonic() + wait, stop)
        except TimeoutError as error:
            name = "org.freedesktop.DBus.Error.NoReply"
            raise BusError(name, f"it did not answer within {wait:.0f} seconds") from error
        except _GONE as error:
            raise BusError("", f"the connection to the bus is gone: {error}") from error
        if reply.header.message_type is MessageType.error:
            name = str(reply.header.fields[HeaderFields.error_name])
            raise BusError(name, str(reply.body[0]) if reply.body else name)
        body: tuple[Any, ...] = reply.body
        return body


class _Reply:
    """Matches the reply to one message."""

    def __init__(self, serial: int) -> None:
        self._serial = serial

    def matches(self, message: Any) -> bool:
        return bool(message.header.fields.get(HeaderFields.reply_serial) == self._serial)


def _address(which: str) -> str:
    if which == "system":
        return "SYSTEM"
    if not os.environ.get("DBUS_SESSION_BUS_ADDRESS"):
        socket = os.path.join(os.environ.get("XDG_RUNTIME_DIR", ""), "bus")
        if not os.path.isabs(socket) or not os.path.exists(socket):
            raise BusError("", "there is no session bus")
        return f"unix:path={socket}"  # where systemd has it, as for a login by ssh
    return "SESSION"
