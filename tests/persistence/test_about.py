"""What a store says of itself."""

import time
from dataclasses import FrozenInstanceError

import pytest

from axiom_persistence import Durability, blocking, open_persistence
from support.embedded import Kept


async def test_before_and_after_the_first_save(kept):
    """The id comes with the first save and stays; place, class and abilities are known before."""
    async with kept.open() as persistence:
        new = await persistence.about()
        assert (new.id, new.format, new.created) == (None, None, None)
        assert new.location == persistence.location
        assert new.traits == persistence.adapter.traits
        assert new.durability is new.traits.durability
        await persistence.save("a", 1)
        made = await persistence.namespace("n").about()
    assert made.format == 1
    assert 0 <= time.time() - made.created < 3600
    async with kept.open(durability=Durability.MEMORY) as persistence:
        again = await persistence.about()
    assert (again.id, again.created) == (made.id, made.created)
    assert again.durability is Durability.MEMORY
    names = {"memory": "MemoryAdapter", "file": "FileStorageAdapter"}
    names |= {"postgres": "PostgresAdapter", "redis": "RedisAdapter", "objects": "ObjectStoreAdapter"}
    assert again.adapter == names.get(kept.kind.split()[-1], "SQLiteAdapter")
    with pytest.raises(FrozenInstanceError):
        again.id = "x"


async def test_each_store_has_an_id_of_its_own(tmp_path):
    """Two stores never have the same one; two openings of one have."""
    ids = set()
    for name in "ab":
        async with open_persistence(tmp_path / name) as one, open_persistence(tmp_path / name) as two:
            assert (await two.about()).id is None
            await one.save("k", 1)
            assert (await one.about()).id == (await two.about()).id
            ids.add((await one.about()).id)
    assert len(ids) == 2


def test_the_blocking_face(tmp_path):
    """The same facts."""
    with blocking.Persistence(Kept("memory", tmp_path).open()) as persistence:
        persistence.save("a", 1)
        assert persistence.about().adapter == "MemoryAdapter"
