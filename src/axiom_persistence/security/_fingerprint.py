"""A fingerprint reader on Linux, by fprintd."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

from ..errors import AuthenticationError, ConfigurationError
from ..runtime.threads import in_thread
from .presence import Authenticator, asked

if TYPE_CHECKING:
    from ..platform._bus import Bus, BusError

__all__ = ["FingerprintAuthenticator", "look_for_prints"]

_SERVICE: Final = "net.reactivated.Fprint"
_MANAGER: Final = (_SERVICE, "/net/reactivated/Fprint/Manager", f"{_SERVICE}.Manager")
_DEVICE: Final = f"{_SERVICE}.Device"
_ERRORS: Final = {
    "NoSuchDevice": ("there is no fingerprint reader", "connect one, or use another way"),
    "NoEnrolledPrints": ("no finger of this user is known", "fprintd-enroll makes one known"),
    "PermissionDenied": (
        "this session may not use the fingerprint reader",
        "fprintd allows it to the person at the machine, and not by ssh or to a service",
    ),
    "AlreadyInUse": ("another program uses the fingerprint reader", "end it, or try again"),
}
_LOOK_S: Final = 0.05


class FingerprintAuthenticator(Authenticator):
    """The person touches a fingerprint reader (fprintd; extra ``gates``).

    ``tries``: how many unknown fingers are taken before the answer is no. ``timeout``: seconds that the
    person has. A finger that was moved too fast, or lay badly, may be tried again and does not count.
    """

    name: str = "fingerprint"

    def __init__(self, *, tries: int = 3, timeout: float = 30.0) -> None:
        if tries < 1 or not timeout > 0:
            raise ConfigurationError("a fingerprint needs a try and some time", hint="tries=3, timeout=30.0")
        self._tries = tries
        self._timeout = timeout

    async def authenticate(self, reason: str) -> None:  # noqa: ARG002 - a reader shows no text
        await asked(self._scan)

    async def can_authenticate(self) -> bool:
        try:
            await in_thread(look_for_prints)
        except (AuthenticationError, ConfigurationError):
            return False
        return True

    def _scan(self, stop: threading.Event) -> None:
        from ..platform._bus import BusError

        bus = _connected()
        try:
            device = _device(bus)  # which starts the service, where it is not running yet
            sender = bus.owner(_SERVICE)
            bus.listen(interface=_DEVICE, path=device[1], sender=_SERVICE)
            bus.call(device, "Claim", "s", "", stop=stop)
            try:
                self._verify(bus, device, sender, stop)
            finally:
                _let_go(bus, device, "Release")
        except BusError as error:
            raise _unavailable(error) from error
        finally:
            bus.close()

    def _verify(self, bus: Bus, device: tuple[str, str, str], sender: str, stop: threading.Event) -> None:
        deadline = time.monotonic() + self._timeout
        for _ in range(self._tries):
            bus.call(device, "VerifyStart", "s", "any")
            try:
                if _answer(bus, sender, deadline, stop):
                    return
            finally:
                _let_go(bus, device, "VerifyStop")
        raise AuthenticationError(
            "the finger is not one of this user's", hint="try again with another finger"
        )


def _answer(bus: Bus, sender: str, deadline: float, stop: threading.Event) -> bool:
    """Whether the finger is known, once one was read."""
    while True:
        for name, body in bus.signals(_LOOK_S, sender):
            result, is_done = body if name == "VerifyStatus" else ("", False)
            if result == "verify-match":
                return True
            if result == "verify-no-match":
                return False
            if is_done:
                raise AuthenticationError(
                    f"the fingerprint reader failed: {result}",
                    outcome="unavailable",
                    hint="is it still connected? try again",
                )
        if stop.is_set() or time.monotonic() > deadline:
            why = "the fingerprint was asked for no longer" if stop.is_set() else "nobody touched the reader"
            raise AuthenticationError(why, outcome="cancelled", hint="ask again when the person is there")


def _let_go(bus: Bus, device: tuple[str, str, str], verb: str) -> None:
    from ..platform._bus import BusError

    try:
        bus.call(device, verb)
    except BusError:
        pass  # the reader is gone; the service lets go by itself once our connection is closed


def _connected() -> Bus:
    from ..platform._bus import Bus, BusError

    try:
        return Bus("system")
    except BusError as error:
        raise _unavailable(error) from error


def _device(bus: Bus) -> tuple[str, str, str]:
    (path,) = bus.call(_MANAGER, "GetDefaultDevice")
    return _SERVICE, str(path), _DEVICE


def look_for_prints() -> None:
    """Return where the person could be asked for a finger now. Asks nobody.

    Raises ``AuthenticationError``, which says what is missing; ``ConfigurationError`` without jeepney.
    """
    from ..platform._bus import BusError

    bus = _connected()
    try:
        bus.call(_device(bus), "ListEnrolledFingers", "s", "")
    except BusError as error:
        raise _unavailable(error) from error
    finally:
        bus.close()


def _unavailable(error: BusError) -> AuthenticationError:
    why, hint = _ERRORS.get(
        error.name.rpartition(".")[2],
        (f"the fingerprint service cannot be used: {error}", "install and start fprintd, or use another way"),
    )
    return AuthenticationError(why, outcome="unavailable", hint=hint)
