"""For pytest, loaded by itself: every test has a world of its own.

Whatever a test opens by an application's name, ``open_persistence("notes")``, lies in a directory of
that test; nothing is read from or left in the home of the person who runs the tests. Fixtures:
``persistence``, open and in memory, and ``persistence_on_disk``, open and kept by SQLite in ``tmp_path``.
The two are asynchronous and need a runner such as pytest-asyncio; with ``blocking_`` before their names they
are those of the blocking face. ``full_disk``, ``damage`` and ``pass_time`` make happen what rarely does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from ..blocking import Persistence
    from ..persistence.persistence import AdapterBasedPersistence
    from .provoking import PassingTime

__all__ = [
    "blocking_persistence",
    "blocking_persistence_on_disk",
    "damage",
    "full_disk",
    "pass_time",
    "persistence",
    "persistence_on_disk",
]

_HOME: Final = "AXIOM_PERSISTENCE_HOME"
_numbers: Final = count(1)

# Without this the asserts of the suite would fail without saying what they compared.
pytest.register_assert_rewrite("axiom_persistence.testing.suite", "axiom_persistence.testing.machine")

_async_fixture: Callable[..., Any] = pytest.fixture
try:
    # In its strict mode pytest-asyncio runs only the fixtures that it has marked itself.
    from pytest_asyncio import fixture as _async_fixture
except ImportError:
    pass


@pytest.fixture(scope="session", autouse=True)
def _axiom_persistence_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where fixtures of a wider scope than one test keep what they open."""
    home = tmp_path_factory.getbasetemp() / "axiom-persistence"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(_HOME, str(home / "session"))
        yield home


@pytest.fixture(autouse=True)
def _axiom_persistence_world(_axiom_persistence_home: Path) -> Iterator[None]:
    # The directory is named, not made: most tests open nothing, and those that do make it then.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(_HOME, str(_axiom_persistence_home / f"test-{next(_numbers)}"))
        yield


@_async_fixture
async def persistence() -> AsyncIterator[AdapterBasedPersistence]:
    """A persistence in memory, open during the test."""
    from .. import open_persistence

    async with open_persistence("memory:") as opened:
        yield opened


@_async_fixture
async def persistence_on_disk(tmp_path: Path) -> AsyncIterator[AdapterBasedPersistence]:
    """A persistence in ``tmp_path / "persistence.db"``, open during the test."""
    from .. import open_persistence

    async with open_persistence(tmp_path / "persistence.db") as opened:
        yield opened


@pytest.fixture
def blocking_persistence() -> Iterator[Persistence]:
    """A blocking persistence in memory, open during the test."""
    from ..blocking import open_persistence

    with open_persistence("memory:") as opened:
        yield opened


@pytest.fixture
def blocking_persistence_on_disk(tmp_path: Path) -> Iterator[Persistence]:
    """A blocking persistence in ``tmp_path / "persistence.db"``, open during the test."""
    from ..blocking import open_persistence

    with open_persistence(tmp_path / "persistence.db") as opened:
        yield opened


@pytest.fixture
def full_disk() -> Callable[[AdapterBasedPersistence | Persistence], AbstractContextManager[None]]:
    """``with full_disk(persistence):`` every save over it raises ``StorageFullError``."""
    from .provoking import full_disk

    return full_disk


@pytest.fixture
def damage() -> Callable[..., Any]:
    """``await damage(persistence, key)`` changes a byte of a record; without ``await`` of a blocking one."""
    from .provoking import damage

    return damage


@pytest.fixture
def pass_time() -> Iterator[PassingTime]:
    """``pass_time(60)`` moves the clock by which values expire, in all stores of the process, by a minute."""
    from .provoking import PassingTime

    with PassingTime().moving() as moved:
        yield moved
