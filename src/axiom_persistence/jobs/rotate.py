"""A new data key for an encrypted store: every record is sealed anew, while the store is in use."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from ..errors import ConfigurationError
from ..layers.encrypted import Encrypted
from ..store.store import Store
from ._noted import noted
from ._sealing import Rewriting
from .walk import OnProgress

__all__ = ["RotationReport", "rotate"]

_GRACE_S: Final = 86_400.0
"""How long an old key is kept when no record needs it: another process may still seal with it."""


@dataclass(slots=True)
class RotationReport:
    """What ``rotate`` did."""

    records: int = 0
    """How many records were looked at."""
    sealed: int = 0
    """How many were sealed anew. The others had the new key already, or were damaged or deleted."""
    damaged: int = 0
    """How many could not be opened. They are left as they are; ``verify`` names them."""
    destroyed: int = 0
    """How many old keys were destroyed."""


async def rotate(store: Store, encrypted: Encrypted, *, progress: OnProgress | None = None) -> RotationReport:
    """Seal every record with a new key. Killed or cancelled, the next call goes on with that key.

    An old key goes on opening: what another process seals with it meanwhile, and generations before. It is
    destroyed by a later rotation, at least a day after this one, if no record is found under it then.
    Raises ``ConfigurationError`` while the store is being encrypted or decrypted.
    """
    if encrypted.passage:
        raise ConfigurationError(
            "the keys of a store that is being encrypted or decrypted are not rotated",
            adapter=encrypted,
            hint="call encrypt() or decrypt() first, which goes on",
        )
    await noted(store, "rotation of the keys")
    await encrypted.rotate()
    rewriting = Rewriting(
        store,
        encrypted,
        lambda number: number is not None and number < encrypted.keyset.primary,
        lambda changes, expect: encrypted.commit(changes, expect=expect),
    )
    await rewriting.walk(progress)
    now = time.time()
    needed = {encrypted.keyset.primary, *rewriting.damaged.values()}
    unused = {number: key for number, key in encrypted.keyset.keys.items() if number not in needed}
    old = [n for n, key in unused.items() if key.emptied is not None and key.emptied < now - _GRACE_S]
    await encrypted.retire(unused.keys() - set(old), destroyed=old, now=now)
    return RotationReport(rewriting.records, rewriting.rewritten, len(rewriting.damaged), len(old))
