"""Who gives the key of an encrypted store, what is sealed with it, and who may use either."""

from ._fingerprint import FingerprintAuthenticator
from ._polkit import PolkitAuthenticator
from ._touch_id import TouchIDAuthenticator
from ._windows_hello import WindowsHelloAuthenticator
from .gates import Gate, GuardedKey
from .keys import (
    CredentialKey,
    EnvironmentKey,
    FileKey,
    KeychainKey,
    KeyProvider,
    PassphraseKey,
    StaticKey,
)
from .presence import Authenticator

__all__ = [
    "Authenticator",
    "CredentialKey",
    "EnvironmentKey",
    "FileKey",
    "FingerprintAuthenticator",
    "Gate",
    "GuardedKey",
    "KeyProvider",
    "KeychainKey",
    "PassphraseKey",
    "PolkitAuthenticator",
    "StaticKey",
    "TouchIDAuthenticator",
    "WindowsHelloAuthenticator",
]
