"""Who gives the key of an encrypted store, what is sealed with it, and what an audit trail says."""

from .audit import AuditEntry, AuditLog
from .keys import (
    CredentialKey,
    EnvironmentKey,
    FileKey,
    KeychainKey,
    KeyProvider,
    PassphraseKey,
    StaticKey,
)

__all__ = [
    "AuditEntry",
    "AuditLog",
    "CredentialKey",
    "EnvironmentKey",
    "FileKey",
    "KeyProvider",
    "KeychainKey",
    "PassphraseKey",
    "StaticKey",
]
