"""The rest of the library over a store on a server."""

import asyncio

import pytest

from axiom_persistence import (
    AutoSave,
    CachePolicy,
    Client,
    ConfigurationError,
    Durability,
    Migrations,
    adapter_for,
    blocking,
    client_state,
    open_persistence,
)
from axiom_persistence.errors import KeyUnavailableError
from axiom_persistence.security.keys import StaticKey
from support import postgres, redis_server


@pytest.fixture(params=[postgres, redis_server], ids=["postgres", "redis"])
def address(request, tmp_path):
    return request.param.address_at(tmp_path)


class Preferences(Client):
    auto_save = AutoSave(interval=0.01, max_delay=0.1)
    theme: str = client_state("system")
    recent: list[str] = client_state(default_factory=list)


async def test_clients_store_by_interval_and_see_each_other(address):
    """What one assigns is stored soon, by itself, and reaches the other."""
    async with open_persistence(address) as mine, open_persistence(address) as theirs:
        async with Preferences(mine) as here, Preferences(theirs) as there:
            here.theme = "dark"
            here.recent.append("a")
            async for update in there.state_stream():
                if update.values == {"theme": "dark", "recent": ["a"]}:
                    break
            there.theme = "light"
            await there.persist_state()
        assert await mine.load("Preferences/theme", str) == "light"


async def test_two_collections_and_a_transaction(address):
    """Of several tasks in two openings; the sums are exact."""
    async with open_persistence(address) as mine, open_persistence(address) as theirs:

        async def count(persistence):
            notes = persistence.collection("notes", int)
            for _ in range(5):
                await notes.update("n", lambda n: n + 1, default=0)

        await asyncio.gather(*(count(each) for each in (mine, theirs) for _ in range(3)))
        assert await mine.collection("notes", int).get("n") == 30
        assert await theirs.delete_prefix("notes/") == 1


async def test_everything_encrypted(address):
    """The server sees no value; without the key nothing opens."""
    keys = StaticKey(bytes(range(32)))
    async with open_persistence(address, keys=keys) as persistence:
        await persistence.save("token", "swordfish")
    async with adapter_for(address) as adapter:
        found = await adapter.fetch([key async for key in adapter.keys("")])
    assert found
    assert not [key for key, stored in found.items() if b"swordfish" in stored.data]
    async with open_persistence(address, keys=keys) as persistence:
        assert await persistence.load("token", str) == "swordfish"
    with pytest.raises(KeyUnavailableError):
        async with open_persistence(address):
            pass


async def test_a_migration_is_noticed_by_an_older_program_that_is_open(address):
    """At its next save, in the statement of that save."""
    migrations = Migrations(current="2.0")

    @migrations.value("1.0", "2.0", key="profile")
    def split(value):
        first, last = value["name"].split()
        return {"first": first, "last": last}

    async with open_persistence(address) as older:
        await older.save("profile", {"name": "Ada Lovelace"})
        async with open_persistence(address, migrations=migrations) as newer:
            await newer.migrate("1.0", "2.0")
            assert await newer.load("profile", dict) == {"first": "Ada", "last": "Lovelace"}
        with pytest.raises(Exception, match=r"2\.0"):
            await older.save("profile", {"name": "Grace Hopper"})
    async with open_persistence(address, migrations=migrations) as newer:
        assert await newer.load("profile", dict) == {"first": "Ada", "last": "Lovelace"}


async def test_caches_say_how_late_they_may_be(address):
    """None by default; max_age is what is asked for; write-back saves at once and stores a little later."""
    async with open_persistence(address) as theirs:
        async with open_persistence(address) as fresh:
            await theirs.save("k", 1)
            assert await fresh.load("k", int) == 1
            await theirs.save("k", 2)
            assert await fresh.load("k", int) == 2
        async with open_persistence(address, cache=CachePolicy(max_age=3600.0)) as late:
            assert await late.load("k", int) == 2
            await theirs.save("k", 3)
            assert await late.load("k", int) == 2
        async with open_persistence(address, cache=CachePolicy.write_back(interval=60.0)) as lazy:
            await lazy.save("k", 4)
            assert await theirs.load("k", int) == 3
            assert await lazy.load("k", int) == 4
        assert await theirs.load("k", int) == 4


async def test_archives_go_to_and_from_files(address, tmp_path):
    """Everything, into a directory of JSON files and back."""
    async with open_persistence(address) as persistence:
        await persistence.save_many({f"{n}": n for n in range(50)})
        await persistence.export_to(tmp_path / "archive")
        assert await persistence.delete_prefix("") == 50
        await persistence.import_from(tmp_path / "archive")
        assert await persistence.load_many(["0", "49"], int) == {"0": 0, "49": 49}
        assert await persistence.verify()


def test_without_an_event_loop(address):
    """The blocking face, over a loop of its own."""
    with blocking.open_persistence(address) as persistence:
        persistence.save("k", 1)
        assert persistence.load("k", int) == 1
        assert persistence.about().adapter in ("PostgresAdapter", "RedisAdapter")


async def test_what_it_says_of_itself(address):
    """Nobody learns who logs in; a stronger promise than the address has is refused."""
    weak = address.replace("postgresql://ax@", "postgresql://ax:hunter2@") + "&durability=process_exit"
    async with open_persistence(weak) as persistence:
        about = await persistence.about()
        assert about.traits.durability is Durability.PROCESS_EXIT
        assert "hunter2" not in f"{about} {persistence.location} {persistence!r} {persistence.stats()}"
        with pytest.raises(ConfigurationError):
            await persistence.save("k", 1, durability="power_loss")
    assert adapter_for(weak).location == persistence.location
