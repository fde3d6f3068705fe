"""A plain store is encrypted in place, and an encrypted one decrypted."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from ..errors import ConflictError
from ..layers.encrypted import Encrypted
from ..layers.erasable import Erasable
from ..records._subject import SUBJECT_KEYS
from ..security.keyset import DECRYPTING, ENCRYPTING
from ..storage.adapter import Changes, Expect
from ..store._header import HEADER, sealed_header
from ..store.store import Store
from ._migration import Headline
from ._noted import noted
from ._sealing import Rewriting, forget_cached
from .walk import OnProgress, pages

__all__ = ["EncryptionReport", "decrypt", "encrypt"]


@dataclass(slots=True)
class EncryptionReport:
    """What ``encrypt`` or ``decrypt`` did. False: it is not done, since something could not be read."""

    records: int = 0
    """How many records were looked at."""
    rewritten: int = 0
    """How many were sealed or opened; with ``dry_run``, how many would be."""
    damaged: int = 0
    """How many could not be read and are as they were. ``verify`` names them."""
    scrubbed: bool = False
    """What the place still had of earlier records was overwritten, as far as a program can. Always false
    for a place that cannot do it."""
    snapshots: int = 0
    """Copies of the store from before that are still beside it, as they were made."""

    def __bool__(self) -> bool:
        return not self.damaged


async def encrypt(
    store: Store, encrypted: Encrypted, *, dry_run: bool = False, progress: OnProgress | None = None
) -> EncryptionReport:
    """Seal what is plain. What is sealed is what is done: a later call does the rest."""
    sealing = store.adapter.find(Erasable) or encrypted  # what is about somebody with their own key, too
    rewriting = Rewriting(
        store,
        encrypted,
        lambda number: number is None,
        lambda new, expect: sealing.commit(new, expect=expect),
    )
    if dry_run:
        return await _counted(rewriting, progress)
    while encrypted.passage == "plain":
        await _begin(store, encrypted)
    if not encrypted.passage:
        return _report(rewriting)
    await noted(store, "encryption in place")
    await encrypted.enter(ENCRYPTING)
    await _walk(rewriting, progress)
    scrubbed = not rewriting.damaged and await encrypted.scrub()
    if not rewriting.damaged:
        await encrypted.enter("")
    return _report(rewriting, scrubbed=scrubbed)


async def decrypt(
    store: Store, encrypted: Encrypted, *, dry_run: bool = False, progress: OnProgress | None = None
) -> EncryptionReport:
    """Open what is sealed, also with the keys of subjects; then forget the keys."""
    erasable = store.adapter.find(Erasable)

    async def commit(new: Changes, expect: Expect) -> None:
        plain = new if erasable is None else await erasable.unsealed(new)
        await encrypted.inner.commit(plain, expect=expect)

    rewriting = Rewriting(
        store,
        encrypted,
        lambda number: number is not None,
        commit,
    )
    if dry_run:
        return await _counted(rewriting, progress)
    await store.adapter.commit({})  # what waits in a write-back cache is saved, before nothing is
    if not encrypted.passage:  # later nothing is saved any more
        await noted(store, "decryption in place")
    while encrypted.passage != "plain":
        await encrypted.enter(DECRYPTING)
        await _walk(rewriting, progress)
        if rewriting.damaged:
            return _report(rewriting)
        await _end(store, encrypted)
    async for page in pages(encrypted.inner.keys(SUBJECT_KEYS)):
        await encrypted.inner.purge(page)  # nothing is sealed with them any more
    scrubbed = await encrypted.scrub()
    return _report(rewriting, scrubbed=scrubbed)


async def _begin(store: Store, encrypted: Encrypted) -> None:
    changes, expect = await _header(store, encrypted=True)
    try:
        await encrypted.begin(changes, expect)
    except ConflictError:
        pass  # somebody has changed the header: read it again
    finally:
        forget_cached(store)


async def _end(store: Store, encrypted: Encrypted) -> None:
    changes, expect = await _header(store, encrypted=False)
    try:
        await encrypted.end(changes, expect)
    except ConflictError:
        pass  # somebody has changed the header or the keys: look at everything again
    finally:
        forget_cached(store)


async def _header(store: Store, *, encrypted: bool) -> tuple[Changes, Expect]:
    """The change that tells those who have the store open without keys. None where there is no header."""
    headline = Headline(store)
    header = await headline.read()
    if header is None:
        return {}, {}
    changed = msgspec.structs.replace(header, encrypted=encrypted)
    return {HEADER: sealed_header(changed)}, {HEADER: headline.version}


async def _walk(rewriting: Rewriting, progress: OnProgress | None) -> None:
    """Until a walk finds nothing to do: another program may have saved behind it."""
    seen = -1
    while rewriting.rewritten != seen:
        seen = rewriting.rewritten
        rewriting.damaged.clear()
        await rewriting.walk(progress)


async def _counted(rewriting: Rewriting, progress: OnProgress | None) -> EncryptionReport:
    async def count(changes: Changes, expect: Expect) -> None:
        """Nothing is written."""

    rewriting.commit = count
    await rewriting.walk(progress)
    return _report(rewriting)


def _report(rewriting: Rewriting, *, scrubbed: bool = False) -> EncryptionReport:
    return EncryptionReport(
        records=rewriting.records,
        rewritten=rewriting.rewritten,
        damaged=len(rewriting.damaged),
        scrubbed=scrubbed,
    )
