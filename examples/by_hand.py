"""State kept by a class of your own: four members make it Persistable, and a ClientManager drives it.

Run it:  python examples/by_hand.py README.md 12     (remembers the line)
         python examples/by_hand.py                  (shows them all)
"""

import asyncio
import sys
from typing import Any

from axiom_persistence import ClientManager, open_persistence


class Bookmarks:
    """Where one stopped reading, by file."""

    persisted_keys = ("pages",)

    def __init__(self, persistence: Any) -> None:
        self.persistence = persistence
        self.pages: dict[str, int] = {}

    async def restore_state(self) -> None:
        self.pages = await self.persistence.load("bookmarks/pages", dict[str, int], default={})

    async def persist_state(self) -> None:
        await self.persistence.save("bookmarks/pages", self.pages)


async def main(arguments: list[str]) -> None:
    manager = ClientManager()
    async with open_persistence("by-hand") as persistence:
        bookmarks = manager.register(Bookmarks(persistence))
        async with manager:  # restored here
            if len(arguments) == 2:
                bookmarks.pages[arguments[0]] = int(arguments[1])
                await bookmarks.persist_state()  # survives power loss from here on
            for name, line in bookmarks.pages.items():
                print(f"{name}: line {line}")
        # saved here once more: what was changed by then is kept, too


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
