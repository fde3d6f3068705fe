"""XAES-256-GCM: authenticated encryption with nonces that may be drawn at random for ever.

AES-256-GCM under a key that is derived from the first half of a 24-byte nonce, as C2SP specifies it
(c2sp.org/XAES-256-GCM). A plain AES-GCM key must not seal more than 2^32 records with random nonces, which
somebody has to count, on every device that shares the key; here nobody has to.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from ..errors import ConfigurationError

try:
    # What was to be opened is altered, or sealed under another key or another name.
    from cryptography.exceptions import InvalidTag as WrongKeyError
    from cryptography.hazmat.primitives.ciphers import Cipher as BlockCipher
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.ciphers.algorithms import AES
    from cryptography.hazmat.primitives.ciphers.modes import ECB
except ImportError as _error:
    raise ImportError(
        "encryption needs the package cryptography: pip install 'axiom-persistence[encryption]'"
    ) from _error

__all__ = ["NONCE_BYTES", "PREFIX_BYTES", "TAG_BYTES", "Cipher", "Opener", "WrongKeyError", "new_key"]

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 24
TAG_BYTES: Final = 16
PREFIX_BYTES: Final = 12
"""The first half of a nonce, which a key is derived from."""
_SEALED_PER_PREFIX: Final = 1 << 32
"""NIST SP 800-38D, 8.3: so many random nonces of 96 bits under one AES-GCM key, no more."""


Opener = Callable[[bytes, bytes, bytes], bytes]
"""Opens records: called with the second half of the nonce, what is behind the nonce, and what is bound."""


def new_key() -> bytes:
    """32 bytes from the system's generator."""
    return os.urandom(KEY_BYTES)


class Cipher:
    """Seals and opens under one key of 32 bytes. Threads may share one.

    The first half of the nonce is drawn once for each ``Cipher`` (and anew after 2^32 records), so that the
    derived key is made once and not for every record; the second half is drawn for every record.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ConfigurationError(
                f"a key has {KEY_BYTES} bytes, not {len(key)}", hint="make one with new_key()"
            )
        derive = _derivation(key)
        self._derived: Callable[[bytes], AESGCM] = lru_cache(maxsize=256)(
            lambda prefix: AESGCM(derive(prefix))
        )
        self._begin()

    def __repr__(self) -> str:
        return "Cipher(<secret>)"

    def _begin(self) -> None:
        prefix = os.urandom(PREFIX_BYTES)
        # One tuple: another thread never sees the prefix of one key with the key of another.
        self._now: tuple[bytes, AESGCM] = prefix, self._derived(prefix)
        self._left = _SEALED_PER_PREFIX

    def seal(self, data: bytes, bound: bytes) -> bytes:
        """Nonce, ciphertext and tag. ``bound`` is not kept, and must be the same to open it."""
        if self._left <= 0:
            self._begin()
        self._left -= 1
        prefix, aead = self._now
        suffix = os.urandom(PREFIX_BYTES)
        return prefix + suffix + aead.encrypt(suffix, data, bound)

    def opener(self, prefix: bytes) -> Opener:
        """What opens records whose nonce begins with ``prefix``, without what ``open`` does around it.

        It raises ``WrongKeyError`` as well, and ``ValueError`` where what it is given ends within the nonce.
        """
        return self._derived(prefix).decrypt

    def open(self, sealed: bytes, bound: bytes) -> bytes:
        """What was sealed. Raises ``WrongKeyError`` unless every byte, ``bound`` and the key are the same."""
        if len(sealed) < NONCE_BYTES + TAG_BYTES:
            raise WrongKeyError
        suffix, data = sealed[PREFIX_BYTES:NONCE_BYTES], sealed[NONCE_BYTES:]
        return self.opener(sealed[:PREFIX_BYTES])(suffix, data, bound)


def _derivation(key: bytes) -> Callable[[bytes], bytes]:
    """NIST SP 800-108 KDF in counter mode with AES-CMAC, for the messages of one block that XAES needs."""
    encrypt = _one_block(key)
    first = int.from_bytes(encrypt(bytes(16)), "big")
    subkey = (first << 1) & ((1 << 128) - 1) ^ (0x87 if first >> 127 else 0)

    def derive(prefix: bytes) -> bytes:
        blocks = (b"\0" + bytes([counter]) + b"X\0" + prefix for counter in (1, 2))
        return b"".join(
            encrypt((int.from_bytes(block, "big") ^ subkey).to_bytes(16, "big")) for block in blocks
        )

    return derive


def _one_block(key: bytes) -> Callable[[bytes], bytes]:
    def encrypt(block: bytes) -> bytes:
        return BlockCipher(AES(key), ECB()).encryptor().update(block)  # noqa: S305 - one block, as CMAC does

    return encrypt
