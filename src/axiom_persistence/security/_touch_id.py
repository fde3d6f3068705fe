"""Touch ID and the password of a Mac. Written against Apple's documentation; not run there."""

from __future__ import annotations

import asyncio
import importlib
from typing import Any, Final

from ..errors import AuthenticationError, ConfigurationError
from .presence import Authenticator

__all__ = ["TouchIDAuthenticator"]

_BIOMETRICS, _BIOMETRICS_OR_PASSWORD = 1, 2
# https://developer.apple.com/documentation/localauthentication/laerror/code
_OUTCOMES: Final = {
    -1: ("denied", "the person was not recognised"),
    -2: ("cancelled", "the person closed the question"),
    -3: ("cancelled", "the person wants to type a password instead"),
    -4: ("cancelled", "the system closed the question"),
    -5: ("unavailable", "this Mac has no password set"),
    -6: ("unavailable", "this Mac has no Touch ID, or it is not at hand"),
    -7: ("unavailable", "no finger is known to Touch ID"),
    -8: ("locked_out", "Touch ID is locked after too many failures"),
    -9: ("cancelled", "the program closed the question"),
    -1004: ("unavailable", "this session cannot show a question"),
}


class TouchIDAuthenticator(Authenticator):
    """macOS asks for a finger; with ``password=True``, for the person's password where there is none.

    Needs pyobjc-framework-LocalAuthentication (extra ``gates``).
    """

    name: str = "Touch ID"

    def __init__(self, *, password: bool = False) -> None:
        self._policy = _BIOMETRICS_OR_PASSWORD if password else _BIOMETRICS

    async def authenticate(self, reason: str) -> None:
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[int] = loop.create_future()

        def answer(code: int) -> None:
            if not answered.done():
                answered.set_result(code)

        def reply(is_recognised: bool, error: Any) -> None:  # on a thread of the system
            try:
                loop.call_soon_threadsafe(answer, 0 if is_recognised else _code(error))
            except RuntimeError:
                pass  # that loop is closed, and nobody waits on it any more

        context = _context()
        context.evaluatePolicy_localizedReason_reply_(self._policy, reason, reply)
        try:
            code = await answered
        except asyncio.CancelledError:
            context.invalidate()
            raise
        if code != 0:
            raise _refusal(code)

    async def can_authenticate(self) -> bool:
        try:
            context = _context()
        except ConfigurationError:
            return False
        return bool(context.canEvaluatePolicy_error_(self._policy, None)[0])


def _context() -> Any:
    try:
        api = importlib.import_module("LocalAuthentication")
    except ImportError as error:
        raise ConfigurationError(
            "Touch ID needs macOS and the package pyobjc-framework-LocalAuthentication",
            hint="pip install 'axiom-persistence[gates]'",
        ) from error
    return api.LAContext.alloc().init()


def _code(error: Any) -> int:
    return -1 if error is None else int(error.code())


def _refusal(code: int) -> AuthenticationError:
    outcome, why = _OUTCOMES.get(code, ("unavailable", f"macOS refused with error {code}"))
    hint = "try again" if outcome in ("denied", "cancelled") else "see Touch ID & Password in System Settings"
    return AuthenticationError(why, outcome=outcome, hint=hint)
