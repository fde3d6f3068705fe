from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from axiom_persistence.adapters.memory import MemoryAdapter
from axiom_persistence.opening.open import open_persistence
from axiom_persistence.persistence.persistence import AdapterBasedPersistence
from support.client_worlds import Clock, Failing


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def failing() -> Failing:
    return Failing(MemoryAdapter())


@pytest.fixture
async def flaky(failing: Failing) -> AsyncIterator[AdapterBasedPersistence]:
    """A persistence over the ``failing`` adapter."""
    async with open_persistence(failing) as persistence:
        yield persistence


@pytest.fixture(params=["memory", "sqlite", "file"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AdapterBasedPersistence]:
    """A persistence of each embedded kind."""
    where = {"memory": "memory:", "sqlite": tmp_path / "state.db", "file": tmp_path / "state"}
    async with open_persistence(where[request.param]) as persistence:
        yield persistence
