"""Who gives the key of an encrypted store, what is sealed with it, who may use either,
and what an audit trail says."""

from ..runtime.acting import actor
from ._fingerprint import FingerprintAuthenticator
from ._polkit import PolkitAuthenticator
from ._seals import Checkpoint
from ._signed import sign_checkpoint, verified_checkpoint
from ._touch_id import TouchIDAuthenticator
from ._windows_hello import WindowsHelloAuthenticator
from .audit import AuditEntry, AuditLog
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
    "AuditEntry",
    "AuditLog",
    "Authenticator",
    "Checkpoint",
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
    "actor",
    "sign_checkpoint",
    "verified_checkpoint",
]
