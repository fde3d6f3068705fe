"""``axiom_persistence`` as its users have it; what a save survives is taken from the adapter's traits."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

from .contender import Contender, Survival, contender

__all__ = ["Ours"]


@contender("ours")
class Ours(Contender):
    """Typed values through the whole stack: codec, checked record, adapter."""

    awaits = True
    place = "ours.db"
    cached = True
    durability: str | None = None
    encrypted = False

    async def open(self, directory: Path) -> None:
        from axiom_persistence import Durability

        where = self.place if self.place == "memory:" or "://" in self.place else directory / self.place
        self._opened = AsyncExitStack()
        store = self.store(where)
        persistence = await self._opened.enter_async_context(store)
        self.persistence = persistence
        strongest = persistence.adapter.traits.durability
        promised = strongest if self.durability is None else min(strongest, Durability(self.durability))
        self.survives = Survival(
            "yes" if promised >= Durability.PROCESS_EXIT else "no",
            "yes" if promised >= Durability.PROCESS_EXIT else "no",
            "yes" if promised >= Durability.POWER_LOSS else "no",
            f"its traits: Durability.{promised.name}",
        )
        self.load = persistence.load
        self.save, self.save_many = persistence.save, persistence.save_many
        if self.durability is not None:
            self.save = partial(persistence.save, durability=self.durability)

    def store(self, where: str | Path, **options: Any) -> Any:
        """The store to be opened."""
        from axiom_persistence import open_persistence

        if not self.cached:
            options["cache"] = None
        if self.encrypted:
            from axiom_persistence.security import StaticKey

            options["keys"] = StaticKey(bytes(range(32)))
        return open_persistence(where, **options)

    async def fill(self, values: Mapping[str, Any]) -> None:
        names = list(values)
        for start in range(0, len(names), 10_000):
            await self.persistence.save_many({name: values[name] for name in names[start : start + 10_000]})

    async def close(self) -> None:
        await self._opened.aclose()


@contender("ours-process-exit")
class OursProcessExit(Ours):
    durability = "process_exit"


@contender("ours-uncached")
class OursUncached(Ours):
    cached = False


@contender("ours-audited")
class OursAudited(Ours):
    def store(self, where: str | Path, **options: Any) -> Any:
        from axiom_persistence.security import AuditLog

        return super().store(where, audit=AuditLog(actor="somebody"), **options)


@contender("ours-audited-process-exit")
class OursAuditedProcessExit(OursAudited):
    durability = "process_exit"


@contender("ours-synchronised")
class OursSynchronised(Ours):
    """Every change marked; what is marked is sent to a remote beside the store when the run has ended."""

    def store(self, where: str | Path, **options: Any) -> Any:
        from axiom_persistence import Sync

        return super().store(where, sync=Sync(Path(where).with_name("remote.db"), every=3600), **options)

    async def open(self, directory: Path) -> None:
        await super().open(directory)
        await self.persistence.sync.pause()


@contender("ours-synchronised-process-exit")
class OursSynchronisedProcessExit(OursSynchronised):
    durability = "process_exit"


@contender("ours-file")
class OursFile(Ours):
    place = "ours"


@contender("ours-file-process-exit")
class OursFileProcessExit(OursFile):
    durability = "process_exit"


@contender("ours-memory")
class OursMemory(Ours):
    place = "memory:"


@contender("ours-encrypted")
class OursEncrypted(Ours):
    """The same with every value sealed on its way down."""

    encrypted = True


@contender("ours-encrypted-process-exit")
class OursEncryptedProcessExit(OursEncrypted):
    durability = "process_exit"


@contender("ours-encrypted-uncached")
class OursEncryptedUncached(OursEncrypted):
    cached = False
