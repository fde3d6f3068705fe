"""Two open stores of one program that are kept the same: they meet inside one of them, or where it meets."""

import asyncio
from typing import Any

import pytest

from axiom_persistence import Client, Sync, blocking, client_state, open_persistence
from axiom_persistence.errors import ConfigurationError, InsecureStorageError
from axiom_persistence.layers.observed import Origin
from axiom_persistence.security import StaticKey


def only_now(other, **options):
    return Sync(other, **{"metered": lambda: True, **options})


@pytest.fixture(params=["other.db", "other", "memory:"], ids=["sqlite", "file", "memory"])
async def other(request, tmp_path):
    where = request.param if ":" in request.param else tmp_path / request.param
    async with open_persistence(where, sync=Sync()) as opened:
        yield opened


async def test_what_one_saves_the_other_has(other, tmp_path):
    """In both directions, with what both had before, deletions, fields of both and transactions."""
    await other.save_many({"before": 1, "gone": 1, "p": {"x": 1, "y": 1}})
    async with open_persistence(tmp_path / "a.db", sync=only_now(other)) as a:
        await a.save("of a", {"n": 1})
        await a.sync.now()
        assert await a.load_many(["before", "gone"], int) == {"before": 1, "gone": 1}
        assert await other.load("of a", dict) == {"n": 1}
        await other.delete("gone")
        await a.save("p", {"x": 2, "y": 1})
        async with other.transaction() as tx:
            await tx.save("p", {"x": 1, "y": 2})
            await tx.save("more", [1])
        await a.sync.now()
        assert not await a.exists("gone")
        assert await a.load("more", list) == [1]
        assert await a.load("p", dict) == await other.load("p", dict) == {"x": 2, "y": 2}
        assert a.sync.status.conflicts == 0
    assert await other.load("of a", dict) == {"n": 1}
    assert {key async for key in other.keys("")} == {"before", "p", "more", "of a"}


async def test_it_goes_on_after_both_were_closed(tmp_path):
    """What was deleted on one side meanwhile is deleted on the other, and nothing is sent twice."""
    async with (
        open_persistence(tmp_path / "b.db", sync=Sync()) as b,
        open_persistence(tmp_path / "a.db", sync=only_now(b)) as a,
    ):
        await a.save_many({"kept": 1, "from a": 1, "from b": 1})
        await a.sync.now()
    async with open_persistence(tmp_path / "b.db", sync=Sync()) as b:
        await b.delete("from b")
        async with open_persistence(tmp_path / "a.db", sync=only_now(b)) as a:
            await a.delete("from a")
            status = await a.sync.now()
            assert (status.sent, status.received, status.set_back) == (1, 1, 0)
            for store in (a, b):
                assert await store.load_many(["kept", "from a", "from b"], int) == {"kept": 1}


@pytest.mark.parametrize("other", ["other.db", "other"], indirect=True, ids=["sqlite", "file"])
async def test_it_works_by_itself_and_caches_streams_and_clients_learn(other, tmp_path):
    """Nothing is called; who looks at the other store sees what arrives."""

    class Settings(Client):
        theme: str = client_state("light")

    told = asyncio.ensure_future(anext(aiter(other.changes("k"))))
    async with open_persistence(tmp_path / "a.db", sync=Sync(other, every=0.1)) as a:
        assert await other.load("k", Any) is None  # it is in the cache that there is none
        async with Settings(other) as theirs, Settings(a) as ours:
            await a.save("k", 1)
            change = await told
            assert (change.key, change.origin) == ("k", Origin.REMOTE)
            assert await other.load("k", int) == 1
            await other.save("k", 2)
            while await a.load("k", int) != 2:
                await asyncio.sleep(0.02)
            ours.theme = "dark"
            while theirs.theme != "dark":
                await asyncio.sleep(0.02)
            theirs.theme = "blue"
            while ours.theme != "blue":
                await asyncio.sleep(0.02)


async def test_what_another_process_changed_there(tmp_path):
    """It is found, though it was not told."""
    async with (
        open_persistence(tmp_path / "b.db", sync=Sync()) as b,
        open_persistence(tmp_path / "a.db", sync=only_now(b)) as a,
        open_persistence(tmp_path / "b.db", sync=Sync()) as elsewhere,
    ):
        await elsewhere.save("k", 1)
        while await a.load("k", int) != 1:
            await a.sync.now()
            await asyncio.sleep(0.02)


async def test_the_place_of_the_other_may_be_elsewhere(tmp_path):
    """Then all three meet there; it is closed by the one that opened it."""
    remote, key = tmp_path / "remote.db", StaticKey(b"k" * 32)
    options = {"remote_keys": key, "metered": lambda: True}
    async with (
        open_persistence(tmp_path / "b.db", sync=Sync(remote, **options)) as b,
        open_persistence(tmp_path / "c.db", sync=Sync(remote, **options)) as c,
    ):
        async with open_persistence(tmp_path / "a.db", sync=only_now(b)) as a:
            await b.save("k", 1)
            await a.sync.now()
            assert await a.load("k", int) == 1
            await a.save("k", 2)
            await a.sync.now()
        assert await b.load("k", int) == 2
        await b.save("after", 1)
        await b.sync.now()
        await c.sync.now()
        assert await c.load_many(["k", "after"], int) == {"k": 2, "after": 1}


async def test_what_is_refused(tmp_path):
    """A store that meets nobody, keys of a place that is another's, plain text of what is confidential."""
    key = StaticKey(bytes(32))
    async with open_persistence(tmp_path / "plain.db") as plain:
        with pytest.raises(ConfigurationError, match="not synchronised"):
            open_persistence(tmp_path / "a.db", sync=Sync(plain))
    async with open_persistence(tmp_path / "b.db", sync=Sync()) as b:
        with pytest.raises(ConfigurationError, match="whose place it is"):
            open_persistence(tmp_path / "a.db", sync=Sync(b, remote_keys=key))
        with pytest.raises(InsecureStorageError, match="one key"):
            open_persistence(tmp_path / "a.db", keys=key, sync=Sync(b))
    async with open_persistence(tmp_path / "sealed.db", keys=key, sync=Sync()) as sealed:
        with pytest.raises(InsecureStorageError, match="plain text here"):
            open_persistence(tmp_path / "a.db", sync=Sync(sealed))
        async with open_persistence(tmp_path / "c.db", keys=key, sync=only_now(sealed)) as a:
            await sealed.save("k", 1)
            await a.sync.now()
            assert await a.load("k", int) == 1


def test_without_await(tmp_path):
    """For threads that wait."""
    with (
        blocking.open_persistence(tmp_path / "b.db", sync=Sync()) as b,
        blocking.open_persistence(tmp_path / "a.db", sync=only_now(b)) as a,
    ):
        b.save("k", 1)
        a.sync.now()
        assert a.load("k", int) == 1
