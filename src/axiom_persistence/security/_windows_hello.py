"""Windows Hello. Written against Microsoft's documentation; not run there."""

from __future__ import annotations

import asyncio
import importlib
from typing import Any, Final

from ..errors import AuthenticationError, ConfigurationError
from .presence import Authenticator

__all__ = ["WindowsHelloAuthenticator"]

# https://learn.microsoft.com/uwp/api/windows.security.credentials.ui.userconsentverificationresult
_VERIFIED: Final = 0
_AVAILABLE: Final = 0
_OUTCOMES: Final = {
    1: ("unavailable", "this machine has no device for Windows Hello"),
    2: ("unavailable", "Windows Hello is not set up for this user"),
    3: ("unavailable", "a policy of this machine forbids Windows Hello"),
    4: ("unavailable", "the device of Windows Hello is in use"),
    5: ("locked_out", "Windows Hello is locked after too many failures"),
    6: ("cancelled", "the person closed the question"),
}


class WindowsHelloAuthenticator(Authenticator):
    """Windows asks for a face, a finger or the PIN (package winrt-Windows.Security.Credentials.UI).

    That package is part of the extra ``gates``.
    """

    name: str = "Windows Hello"

    async def authenticate(self, reason: str) -> None:
        asking = _verifier().request_verification_async(reason)
        try:
            result = int(await asking)
        except asyncio.CancelledError:
            asking.cancel()
            raise
        if result != _VERIFIED:
            outcome, why = _OUTCOMES.get(result, ("unavailable", f"Windows Hello answered {result}"))
            hint = "try again" if outcome == "cancelled" else "see Sign-in options in the Settings of Windows"
            raise AuthenticationError(why, outcome=outcome, hint=hint)

    async def can_authenticate(self) -> bool:
        try:
            verifier = _verifier()
        except ConfigurationError:
            return False
        return int(await verifier.check_availability_async()) == _AVAILABLE


def _verifier() -> Any:
    try:
        api = importlib.import_module("winrt.windows.security.credentials.ui")
    except ImportError as error:
        raise ConfigurationError(
            "Windows Hello needs Windows and the package winrt-Windows.Security.Credentials.UI",
            hint="pip install 'axiom-persistence[gates]'",
        ) from error
    return api.UserConsentVerifier
