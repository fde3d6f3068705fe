"""What every contender offers, and what it says its saves survive."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple

__all__ = ["CONTENDERS", "Contender", "Survival", "Unavailable", "contender"]


class Unavailable(Exception):
    """What is to be measured is not there: a peer not installed, a part this version does not have."""


class Survival(NamedTuple):
    """What an acknowledged save survives: an uncaught exception, SIGKILL, the loss of power."""

    exception: str
    kill: str
    power: str
    source: str
    """Where that is written: a file of its source, a documented setting, our own traits."""


class Contender(ABC):
    """One way to keep typed values under string keys in ``directory``.

    ``awaits``: whether ``save``, ``load`` and ``save_many`` are coroutine functions. Synchronous ones are
    called as they are, so that nobody pays for an event loop it does not need.
    """

    awaits: ClassVar[bool] = False
    survives: Survival

    save: Callable[[str, Any], Any]
    load: Callable[[str, Any], Any]

    @abstractmethod
    async def open(self, directory: Path) -> None: ...

    async def close(self) -> None:  # noqa: B027 - the bare ones have nothing to close
        """Let go of everything."""

    async def fill(self, values: Mapping[str, Any]) -> None:
        """Store ``values`` quickly, before anything is measured."""
        for key, value in values.items():
            saved = self.save(key, value)
            if self.awaits:
                await saved


CONTENDERS: Final[dict[str, Callable[[], Contender]]] = {}


def contender(name: str) -> Callable[[type[Contender]], type[Contender]]:
    """Register a class under the name that rows use."""

    def register(cls: type[Contender]) -> type[Contender]:
        CONTENDERS[name] = cls
        return cls

    return register
