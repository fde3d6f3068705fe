"""What an attacker who can write the files may put back as it was: refused, or said to be unnoticed."""

import shutil
import time

import pytest

from axiom_persistence import FileStorageAdapter, SQLiteAdapter, open_persistence
from axiom_persistence.errors import CorruptedDataError
from axiom_persistence.jobs import rotate as job
from axiom_persistence.security import StaticKey

KEYS, OTHER = StaticKey(bytes(range(32))), StaticKey(bytes(32))
DAY = 86_400


@pytest.fixture(params=["store.db", "store"])
def where(request, tmp_path):
    return tmp_path / request.param


def below(where):
    return SQLiteAdapter(where) if where.suffix else FileStorageAdapter(where)


async def raw(where, key, data=None):
    """The stored bytes of ``key``, or put there in their place, behind the library's back."""
    async with below(where) as adapter:
        if data is not None:
            await adapter.commit({key: data})
        return await adapter.read(key)


async def test_a_record_from_before_a_rotation_is_refused_once_its_key_is_destroyed(where, monkeypatch):
    """Until then, a day at least, the old key opens it: it is one record put back as it was."""
    clock = [time.time()]
    monkeypatch.setattr(job.time, "time", lambda: clock[0])
    async with open_persistence(where, keys=KEYS) as persistence:
        await persistence.save_many({"a": "old", "b": 1})
    old = await raw(where, "a")
    async with open_persistence(where, keys=KEYS) as persistence:
        await persistence.save("a", "new")
        await persistence.rotate_keys()
    new = await raw(where, "a", None)
    await raw(where, "a", old)
    async with open_persistence(where, keys=KEYS) as persistence:
        assert await persistence.load("a", str) == "old"
    await raw(where, "a", new)
    clock[0] += 2 * DAY
    async with open_persistence(where, keys=KEYS) as persistence:
        assert (await persistence.rotate_keys()).destroyed == 1
    await raw(where, "a", old)
    async with open_persistence(where, keys=KEYS, on_corruption="raise") as persistence:
        with pytest.raises(CorruptedDataError):
            await persistence.load("a", str)
        assert await persistence.load("b", int) == 1
        assert [found.key for found in (await persistence.verify()).findings] == ["a"]
    assert await raw(where, "a") == old  # kept as it was found


async def test_a_whole_store_put_back_as_it_was_is_not_noticed(where, tmp_path):
    """Values, keys and passphrase are those of then: the threat model says so."""
    async with open_persistence(where, keys=KEYS) as persistence:
        await persistence.save("a", "old")
    copy = tmp_path / "copy"
    (shutil.copyfile if where.suffix else shutil.copytree)(where, copy)
    async with open_persistence(where, keys=KEYS) as persistence:
        await persistence.save("a", "new")
        await persistence.rotate_keys()
        await persistence.change_key(OTHER)
    for leftover in where.parent.glob("store*"):
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    copy.rename(where)
    async with open_persistence(where, keys=KEYS) as persistence:
        assert await persistence.load("a", str) == "old"
        assert await persistence.verify()
