"""``axiom_persistence`` as its users have it; what a save survives is taken from the adapter's traits."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, cast

from .contender import Contender, Survival, Unavailable, contender

__all__ = ["Ours", "as_it_comes", "opened"]


def as_it_comes(where: str | Path) -> Any:
    """A persistence that is not open yet, with everything by default."""
    from axiom_persistence import open_persistence

    return open_persistence(where)


def opened(where: str | Path, *, cached: bool = False) -> Any:
    """A persistence that is not open yet, with the default cache or with none."""
    from axiom_persistence import open_persistence

    if "cache" not in inspect.signature(open_persistence).parameters:
        if cached:
            raise Unavailable("open_persistence(cache=...)")
        return as_it_comes(where)
    return as_it_comes(where) if cached else cast(Any, open_persistence)(where, cache=None)


class Ours(Contender):
    """Typed values through the whole stack: codec, checked record, adapter."""

    awaits = True
    place = "ours.db"
    cached = False
    durability: str | None = None

    async def open(self, directory: Path) -> None:
        from axiom_persistence import Durability

        where = self.place if self.place == "memory:" else directory / self.place
        self._opened = AsyncExitStack()
        persistence = await self._opened.enter_async_context(opened(where, cached=self.cached))
        self.persistence = persistence
        strongest = persistence.adapter.traits.durability
        promised = strongest if self.durability is None else min(strongest, Durability(self.durability))
        self.survives = Survival(
            "yes" if promised >= Durability.PROCESS_EXIT else "no",
            "yes" if promised >= Durability.PROCESS_EXIT else "no",
            "yes" if promised >= Durability.POWER_LOSS else "no",
            f"traits: {type(persistence.adapter).__name__}, Durability.{promised.name}",
        )
        self.load = persistence.load
        self.save, self.save_many = persistence.save, persistence.save_many
        if self.durability is not None:
            self.save = partial(persistence.save, durability=self.durability)

    async def fill(self, values: Mapping[str, Any]) -> None:
        names = list(values)
        for start in range(0, len(names), 10_000):
            await self.persistence.save_many({name: values[name] for name in names[start : start + 10_000]})

    async def close(self) -> None:
        await self._opened.aclose()


@contender("ours")
class OursDurable(Ours):
    title = "axiom-persistence, POWER_LOSS"


@contender("ours-process-exit")
class OursProcessExit(Ours):
    title = "axiom-persistence, PROCESS_EXIT"
    durability = "process_exit"


@contender("ours-cached")
class OursCached(Ours):
    title = "axiom-persistence, cached"
    cached = True


@contender("ours-file")
class OursFile(Ours):
    title = "axiom-persistence, files, POWER_LOSS"
    place = "ours"


@contender("ours-file-process-exit")
class OursFileProcessExit(OursFile):
    title = "axiom-persistence, files, PROCESS_EXIT"
    durability = "process_exit"


@contender("ours-memory")
class OursMemory(Ours):
    title = "axiom-persistence, memory"
    place = "memory:"
