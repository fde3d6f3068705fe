"""The desktop's own question for a password or a finger, by polkit."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from ..errors import AuthenticationError, ConfigurationError
from ..runtime.threads import in_thread
from .presence import Authenticator, asked

if TYPE_CHECKING:
    from ..platform._bus import BusError

__all__ = ["PolkitAuthenticator"]

_AUTHORITY: Final = (
    "org.freedesktop.PolicyKit1",
    "/org/freedesktop/PolicyKit1/Authority",
    "org.freedesktop.PolicyKit1.Authority",
)
_ASK_THE_PERSON: Final = 1


class PolkitAuthenticator(Authenticator):
    """polkit decides whether this process may do ``action``, and asks the person where its rules say so.

    The action is one of the application's own, in a file that its package installs in
    ``/usr/share/polkit-1/actions``; ``auth_self`` there asks for the password of the person itself. root may
    do everything and is never asked. ``timeout``: seconds that the person has. Needs the
    extra ``gates``.
    """

    name: str = "polkit"

    def __init__(self, action: str, *, timeout: float = 120.0) -> None:
        if not action or not timeout > 0:
            raise ConfigurationError(
                "polkit is asked about an action",
                hint="PolkitAuthenticator('org.example.notes.open'), an action of an installed .policy file",
            )
        self.action: str = action
        self._timeout = timeout

    def __repr__(self) -> str:
        return f"PolkitAuthenticator({self.action!r})"

    async def authenticate(self, reason: str) -> None:  # noqa: ARG002 - the text is in the action's file
        await asked(self._ask)

    async def can_authenticate(self) -> bool:
        try:
            return await in_thread(self.may_ask)
        except (AuthenticationError, ConfigurationError):
            return False

    def may_ask(self) -> bool:
        """What ``can_authenticate`` says; raises where polkit itself cannot be asked. Blocks for a moment."""
        is_authorized, is_challenge, _ = self._checked(0, threading.Event())
        return is_authorized or is_challenge

    def _ask(self, stop: threading.Event) -> None:
        is_authorized, is_challenge, details = self._checked(_ASK_THE_PERSON, stop)
        if is_authorized:
            return
        if "polkit.dismissed" in details:
            raise AuthenticationError(
                "the person closed the question",
                outcome="cancelled",
                hint="ask again when the person wants it",
            )
        if is_challenge:
            raise AuthenticationError(
                "polkit wants the person to be asked, and no program of this session can",
                outcome="unavailable",
                hint="run it in a desktop session, or start pkttyagent",
            )
        raise AuthenticationError(
            f"polkit does not allow {self.action}", hint="see its rules: pkaction --verbose --action-id ..."
        )

    def _checked(self, flags: int, stop: threading.Event) -> tuple[bool, bool, dict[str, str]]:
        from ..platform._bus import Bus, BusError

        try:
            bus = Bus("system")
            try:
                subject = ("system-bus-name", {"name": ("s", bus.name)})
                ((is_authorized, is_challenge, details),) = bus.call(
                    _AUTHORITY,
                    "CheckAuthorization",
                    "(sa{sv})sa{ss}us",
                    subject,
                    self.action,
                    {},
                    flags,
                    "",
                    wait=self._timeout,
                    stop=stop,
                )
            finally:
                bus.close()  # with it, polkit takes back a question that nobody has answered
        except BusError as error:
            raise self._refusal(error) from error
        return is_authorized, is_challenge, details

    def _refusal(self, error: BusError) -> AuthenticationError:
        from ..platform._bus import STOPPED

        if error.name == STOPPED or error.name.endswith((".NoReply", ".Cancelled")):
            return AuthenticationError(
                "the question was not answered",
                outcome="cancelled",
                hint="ask again when the person is there",
            )
        if error.is_absence:
            return AuthenticationError(
                f"polkit cannot be asked: {error}", outcome="unavailable", hint="install and start polkit"
            )
        return AuthenticationError(
            f"polkit cannot decide about {self.action}: {error}",
            outcome="unavailable",
            hint="is the action in a .policy file in /usr/share/polkit-1/actions?",
        )
