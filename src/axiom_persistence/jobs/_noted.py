"""What is done to the keys of a store, below its audit trail: an entry says so before it is done."""

from __future__ import annotations

from ..keys import KEYSET
from ..runtime.acting import because
from ..store.store import Store

__all__ = ["noted"]


async def noted(store: Store, reason: str) -> None:
    """Have the audit trail say, sealed, that the keyset is changed, and why. Where there is none, nothing."""
    if store.adapter.traits.audited:
        from ..layers.audited import Audited  # not every store is audited

        audited = store.adapter.find(Audited)
        if audited is not None:
            with because(reason):
                await audited.note({KEYSET: b""})
            await audited.seal()  # a store that is being decrypted saves nothing, batches included
