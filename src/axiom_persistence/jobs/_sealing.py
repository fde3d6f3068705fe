"""Records of an encrypted store, written anew in another form: under another key, sealed, or plain."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from ..errors import ConflictError
from ..keys import KEYSET
from ..layers.cached import Cached
from ..layers.encrypted import Encrypted
from ..storage.adapter import Changes, Expect, Stored
from ..store._header import HEADER
from ..store.store import Store
from .walk import OnProgress, pages

__all__ = ["Rewriting", "forget_cached"]

_PAGE: Final = 64
"""Records in one commit: those of others wait behind it."""


def forget_cached(store: Store, keys: Iterable[str] | None = None) -> None:
    """The versions of what was written below the cache: whoever relied on them would meet a conflict."""
    cached = store.adapter.find(Cached)
    if cached is not None:
        cached.invalidate(keys)


@dataclass
class Rewriting:
    """One walk through all records, or several; what is in its new form already is only looked at."""

    store: Store
    encrypted: Encrypted
    is_due: Callable[[int | None], bool]
    """Whether a record that is sealed with the key of this number, or plain, is to be written anew."""
    commit: Callable[[Changes, Expect], Awaitable[object]]
    """Writes opened records in their new form."""
    records: int = 0
    rewritten: int = 0
    damaged: dict[str, int | None] = field(default_factory=dict)
    """What could not be opened and is left as it is, and the number of its key."""

    async def walk(self, progress: OnProgress | None = None) -> None:
        """Every record that is there now. Cancelled, or killed, the next walk does the rest."""
        self.records = 0
        async for page in pages(self.encrypted.inner.keys(), size=_PAGE, progress=progress):
            self.records += len(page)
            while not await self._page([key for key in page if key not in (KEYSET, HEADER)]):
                pass

    async def _page(self, page: list[str]) -> bool:
        """False: somebody changed one of them meanwhile; try again."""
        encrypted = self.encrypted
        below = await encrypted.inner.fetch(page)
        numbers = {key: encrypted.number_of(key, stored) for key, stored in below.items()}
        due = [key for key, number in numbers.items() if self.is_due(number)]
        opened: dict[str, Stored] = {}
        for key, stored in (await encrypted.fetch(due)).items():
            if stored.damage is None:
                opened[key] = stored
            else:
                self.damaged[key] = numbers[key]
        return await self._write(opened)

    async def _write(self, opened: Mapping[str, Stored]) -> bool:
        groups = [list(opened)] if self.encrypted.traits.atomic else [[key] for key in opened]
        for group in groups:
            if not group:
                continue
            try:
                await self.commit(
                    {key: opened[key].data for key in group}, {key: opened[key].version for key in group}
                )
            except ConflictError:
                return False
            finally:
                forget_cached(self.store, group)
            self.rewritten += len(group)
        return True
