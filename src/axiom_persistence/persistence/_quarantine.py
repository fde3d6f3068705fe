"""The verbs that look after damaged bytes: what was moved out of the way, and never thrown away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._maintenance import Maintenance

if TYPE_CHECKING:
    from ..jobs.quarantine import Item

__all__ = ["Quarantine"]


class Quarantine(Maintenance):
    """What lies in quarantine. A namespace has that of its own keys, by the names they have there."""

    async def quarantined(self) -> list[Item]:
        """The damaged bytes that were moved out of the way: which key they had, why, and when; not the bytes.

        An entry that is damaged itself is left out; ``verify`` names it.
        """
        from ..jobs.quarantine import items

        found = [self._named(item) async for item in items(self._store) if self._is_mine(item)]
        return [item._replace(data=b"") for item in found]

    async def show_quarantined(self, id: str) -> Item | None:
        """The entry with this ``id`` of ``quarantined()``, with its bytes. None: there is none."""
        item = await self._quarantined(id)
        return None if item is None else self._named(item)

    async def restore_quarantined(self, id: str) -> Item | None:
        """Store the bytes under their key again, out of quarantine. None: there is no such entry.

        For bytes that can be read now, by a newer version for example. Raises ``CorruptedDataError`` where
        they still cannot be, and ``ConflictError`` where the key has another value by now; nothing is changed
        then.
        """
        from ..jobs.quarantine import put_back

        item = await self._quarantined(id)
        if item is None:
            return None
        await put_back(self._store, item)
        return self._named(item)

    async def drop_quarantined(self, id: str, *, dry_run: bool = False) -> Item | None:
        """Throw the bytes away for ever, and return them. None: there is no such entry.

        ``sweep`` does it with all that have been there for long.
        """
        from ..jobs.quarantine import drop

        item = await self._quarantined(id)
        if item is None:
            return None
        if not dry_run:
            await drop(self._store, item)
        return self._named(item)

    async def _quarantined(self, id: str) -> Item | None:
        from ..jobs.quarantine import find

        item = await find(self._store, id)
        return item if item is not None and self._is_mine(item) else None

    def _is_mine(self, item: Item) -> bool:
        return item.key.startswith(self._prefix)

    def _named(self, item: Item) -> Item:
        return item._replace(key=item.key.removeprefix(self._prefix))
