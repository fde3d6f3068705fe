"""Records as they are stored encrypted: what seals and opens them under the keys of one keyset."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ...security.cipher import NONCE_BYTES, PREFIX_BYTES, TAG_BYTES, Cipher, Opener
from ...security.keyset import Keyset

__all__ = ["MAGIC", "NONCE", "OVERHEAD", "PREFIX", "Envelopes", "Opening", "number_in"]

MAGIC: Final = b"AXE1\x02"
"""What sealed bytes begin with: the format, and the number of the algorithm (2: XAES-256-GCM)."""
_HEAD: Final = len(MAGIC) + 4
"""The number of the data key ends here,"""
PREFIX: Final = _HEAD + PREFIX_BYTES
"""the first half of the nonce here,"""
NONCE: Final = _HEAD + NONCE_BYTES
"""and the second here; behind it are the ciphertext and its tag."""
OVERHEAD: Final = NONCE + TAG_BYTES
_KEPT: Final = 256
"""Ways to open that are remembered: a key, and the first half of a nonce."""

Opening = tuple[Opener, bytes]
"""What opens a record, and what is bound to it before its key's name."""


class Envelopes:
    """Seals and opens records under the keys of one keyset, bound to the store and to the key's name."""

    def __init__(self, keyset: Keyset) -> None:
        self._id = keyset.id.encode()
        self._ciphers = {number: Cipher(data.key) for number, data in keyset.keys.items()}
        head = MAGIC + keyset.primary.to_bytes(4, "big")
        self.sealing: tuple[bytes, Callable[[bytes, bytes], bytes], bytes]
        """What a sealed record begins with, what seals its value, and what is bound before its key's name."""
        self.sealing = head, self._ciphers[keyset.primary].seal, self._bound(head)
        self.openings: dict[bytes, Opening] = {}
        """What is remembered, by the first ``PREFIX`` bytes of records."""

    def opening(self, data: bytes) -> Opening | None:
        """How to open sealed ``data``. None: with no key of these."""
        known = self.openings.get(data[:PREFIX])
        if known is not None:
            return known
        cipher = self._ciphers.get(number_in(data) or 0)
        if cipher is None:
            return None
        if len(self.openings) >= _KEPT:
            self.openings.clear()
        new = self.openings[data[:PREFIX]] = cipher.opener(data[_HEAD:PREFIX]), self._bound(data[:_HEAD])
        return new

    def _bound(self, head: bytes) -> bytes:
        """Bound to a record, before its key's name. Of one length in a store, so that nothing can shift."""
        return b"axiom-persistence/record/1 %b %b " % (self._id, head)


def number_in(data: bytes) -> int | None:
    """The number of the data key that ``data`` is sealed with. None: it is not sealed."""
    return int.from_bytes(data[len(MAGIC) : _HEAD], "big") if data.startswith(MAGIC) else None
