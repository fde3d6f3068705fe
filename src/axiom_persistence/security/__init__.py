"""Who gives the key of an encrypted store, and what is sealed with it."""

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
    "CredentialKey",
    "EnvironmentKey",
    "FileKey",
    "KeyProvider",
    "KeychainKey",
    "PassphraseKey",
    "StaticKey",
]
