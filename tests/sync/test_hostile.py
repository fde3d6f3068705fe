"""A place where devices meet in the hands of somebody who has no key: what he reads, and what he can do.

He swaps records, puts earlier ones back, sets the whole place back, drops and adds records. What devices
notice of it stands in the threat model of ``docs/sync.md``; each line of it is shown here.
"""

import pytest

from axiom_persistence import SQLiteAdapter, Sync, open_persistence
from axiom_persistence.errors import (
    ConfigurationError,
    CorruptedDataError,
    InsecureStorageError,
    PersistenceError,
)
from axiom_persistence.keys import INTERNAL
from axiom_persistence.layers.tracked import SYNC
from axiom_persistence.records.record import seal_record
from axiom_persistence.security import StaticKey
from axiom_persistence.sync._hidden import Hidden

KEY = StaticKey(b"k" * 32)
MARKER = "a-marker-that-nobody-may-see"


@pytest.fixture(params=[False, True], ids=["names in clear", "names hidden"])
def hides(request):
    return request.param


@pytest.fixture
def device(tmp_path, hides):
    """Opens the store of a device, which meets only when it is told to."""

    def opened(name):
        sync = Sync(tmp_path / "remote.db", remote_keys=KEY, hide_keys=hides, metered=lambda: True)
        return open_persistence(tmp_path / f"{name}.db", sync=sync)

    return opened


class Attacker:
    """Who has the remote, and no key."""

    def __init__(self, place):
        self.adapter = SQLiteAdapter(place)
        self.names = {}

    async def __aenter__(self):
        await self.adapter.aopen()
        return self

    async def __aexit__(self, *_):
        await self.adapter.aclose()

    async def records(self):
        found = await self.adapter.fetch([key async for key in self.adapter.keys("")])
        return {key: stored.data for key, stored in found.items()}

    async def put(self, records):
        """Make the place hold these, and nothing else."""
        gone = dict.fromkeys((await self.records()).keys() - records.keys())
        await self.adapter.commit({**gone, **records})


@pytest.fixture
async def attacker(tmp_path):
    async with Attacker(tmp_path / "remote.db") as one:
        yield one


def states(records):
    """The records of keys, in a sequence that is the same each time."""
    return sorted(key for key in records if not key.startswith(INTERNAL))


async def taken(store, keys=("one", "two")):
    return await store.load_many(list(keys), str)


async def test_nobody_reads_values_or_hidden_names(device, attacker, tmp_path, hides):
    """Neither in records nor anywhere in the bytes of the files."""
    async with device("a") as a:
        await a.save_many({f"{MARKER}-name/1": f"{MARKER}-value", "other": {f"{MARKER}-field": [1] * 300}})
        await a.sync.now()
        await a.delete("other")
        await a.sync.now()
    seen = b"".join(path.read_bytes() for path in tmp_path.glob("remote.db*"))
    assert f"{MARKER}-value".encode() not in seen
    assert f"{MARKER}-field".encode() not in seen
    assert (f"{MARKER}-name".encode() in seen) is not hides
    async with device("b") as b:
        await b.sync.now()
        assert await b.load(f"{MARKER}-name/1", str) == f"{MARKER}-value"


async def test_swapped_records_are_refused(device, attacker):
    """Neither of the two is taken over, by who knew them and who did not; the status names both."""
    async with device("a") as a:
        await a.save_many({"one": "1", "two": "2", "three": "3"})
        await a.sync.now()
        records = await attacker.records()
        one, two, _ = states(records)
        await attacker.put({**records, one: records[two], two: records[one]})
        async with device("b") as b:
            status = await b.sync.now()
            assert (status.state, len(status.faults)) == ("stuck", 2)
            assert all("altered, or moved" in why for _, why in status.faults)
            assert await b.count() == 1
        for key in ("one", "two", "three"):
            await a.save(key, "changed")
        assert len((await a.sync.now()).faults) == 2
        assert await taken(a) == {"one": "changed", "two": "changed"}


@pytest.mark.parametrize("what", ["a plain record", "rubbish"])
async def test_made_up_records_are_refused(device, attacker, what):
    """Who has no key adds nothing and alters nothing."""
    async with device("a") as a:
        await a.save_many({"one": "1"})
        await a.sync.now()
        records = await attacker.records()
        (name,) = states(records)
        made = seal_record(name, b'"mine"', "1.0") if what == "a plain record" else b"rubbish"
        await attacker.put({**records, name: made})
        async with device("b") as b:
            assert (await b.sync.now()).state == "stuck"
            assert not await b.exists("one")
        assert await taken(a) == {"one": "1"}


async def test_a_record_put_back_is_older_and_loses(device, attacker):
    """Who knew the newer keeps it, and sends it again with the next change. A newcomer is told the older."""
    async with device("a") as a:
        await a.save("one", "old")
        await a.sync.now()
        old = await attacker.records()
        await a.save("one", "new")
        await a.sync.now()
        records = await attacker.records()
        (name,) = states(records)
        await attacker.put({**records, name: old[name]})
        assert (await a.sync.now()).set_back == 0
        assert await taken(a) == {"one": "new"}
        async with device("b") as b:
            await b.sync.now()
            assert await taken(b) == {"one": "old"}  # not noticed: what he puts back is genuine
            await b.save("two", "2")
            await b.sync.now()
            await a.save("one", "newer")
            await a.sync.now()
            await b.sync.now()
            assert await taken(a) == await taken(b) == {"one": "newer", "two": "2"}


async def test_a_place_that_is_set_back_is_noticed_and_made_up_for(device, attacker):
    """By each device that was there later: it says so, and sends again what is missing."""
    async with device("a") as a, device("b") as b:
        await a.save_many({"one": "old", "gone": "x"})
        await a.sync.now()
        await b.sync.now()
        old = await attacker.records()
        await a.save_many({"one": "new", "two": "2"})
        await a.delete("gone")
        await a.sync.now()
        await attacker.put(old)
        async with device("newcomer") as newcomer:
            await newcomer.sync.now()
            assert await newcomer.load("one", str) == "old"
            assert (await a.sync.now()).set_back == 1
            for store in (b, newcomer):
                assert (await store.sync.now()).set_back == 0
                assert await taken(store) == {"one": "new", "two": "2"}
                assert not await store.exists("gone")


async def test_a_place_set_back_that_went_on_is_noticed(device, attacker):
    """Also where it has as many entries again as it had."""
    async with device("a") as a, device("b") as b:
        await a.save("one", "old")
        await a.sync.now()
        await b.sync.now()
        old = await attacker.records()
        await a.save("one", "new")
        await a.sync.now()
        await attacker.put(old)
        for number in range(3):
            await b.save("two", f"{number}")
            await b.sync.now()
        assert (await a.sync.now()).set_back == 1
        await b.sync.now()
        assert await taken(a) == await taken(b) == {"one": "new", "two": "2"}


async def test_a_dropped_record_stays_on_the_devices(device, attacker):
    """A newcomer does not get it, unnoticed; whoever has it keeps it, and sends it with the next change."""
    async with device("a") as a, device("b") as b:
        await a.save_many({"one": "1", "two": "2"})
        await a.sync.now()
        await b.sync.now()
        records = await attacker.records()
        del records[states(records)[0]]
        await attacker.put(records)
        for store in (a, b):
            await store.sync.now()
            assert await taken(store) == {"one": "1", "two": "2"}
        async with device("newcomer") as newcomer:
            await newcomer.sync.now()
            assert len(await taken(newcomer)) == 1  # not noticed
            await a.save_many({"one": "1b", "two": "2b"})
            await a.sync.now()
            await newcomer.sync.now()
            assert await taken(newcomer) == {"one": "1b", "two": "2b"}


@pytest.mark.parametrize("dropped", ["head", "log/"])
async def test_a_dropped_log_is_noticed(device, attacker, dropped):
    """Without its end, or entries of it, every key is looked at, and what is missing is sent again."""
    async with device("a") as a, device("b") as b:
        await a.save_many({"one": "1", "two": "2"})
        await a.sync.now()
        await b.sync.now()
        await a.save("one", "new")
        await a.sync.now()
        records = await attacker.records()
        missing = states(records)[0]
        await attacker.put(
            {
                key: data
                for key, data in records.items()
                if not key.startswith(SYNC + dropped) and key != missing
            }
        )
        for store in (a, b, a, b):
            await store.sync.now()
        assert await taken(a) == await taken(b) == {"one": "new", "two": "2"}
        async with device("newcomer") as newcomer:
            await newcomer.sync.now()
            assert await taken(newcomer) == {"one": "new", "two": "2"}
        assert a.sync.status.set_back + b.sync.status.set_back == (dropped == "head") * 2


@pytest.mark.parametrize("name", [SYNC + "head", SYNC + "names", INTERNAL + "keys"])
async def test_what_he_makes_of_the_librarys_own_records_is_told(device, attacker, name, hides):
    """Nothing is taken over then, and nothing changed."""
    async with device("a") as a:
        await a.save("one", "1")
        await a.sync.now()
        records = await attacker.records()
        if name not in records:
            assert not hides
            pytest.skip("no names are hidden there")
        await attacker.put({**records, name: b"rubbish"})
        async with device("b") as b:
            await b.save("two", "2")
            with pytest.raises(PersistenceError):
                await b.sync.now()
            assert await taken(b) == {"two": "2"}
        assert await taken(a) == {"one": "1"}


async def test_all_devices_hide_names_or_none(tmp_path):
    """Who does not say so takes no sealed name for a key, and who does sends none in clear beside them."""
    hidden = Sync(tmp_path / "hidden.db", remote_keys=KEY, hide_keys=True, metered=lambda: True)
    clear = Sync(tmp_path / "clear.db", remote_keys=KEY, metered=lambda: True)
    for number, sync in enumerate((hidden, clear)):
        async with open_persistence(tmp_path / f"{number}.db", sync=sync) as store:
            await store.save("k", 1)
            await store.sync.now()
    other = Sync(tmp_path / "hidden.db", remote_keys=KEY, metered=lambda: True)
    async with open_persistence(tmp_path / "a.db", sync=other) as store:
        with pytest.raises(ConfigurationError, match="hidden there"):
            await store.sync.now()
        assert await store.count() == 0
    other = Sync(tmp_path / "clear.db", remote_keys=KEY, hide_keys=True, metered=lambda: True)
    async with open_persistence(tmp_path / "b.db", sync=other) as store:
        with pytest.raises(InsecureStorageError, match="in clear"):
            await store.sync.now()
    with pytest.raises(ConfigurationError, match="remote_keys"):
        Sync("remote.db", hide_keys=True)


async def test_a_name_too_long_to_be_hidden_holds_nobody_up(tmp_path):
    """It is told, and all other keys go on."""
    sync = Sync(tmp_path / "remote.db", remote_keys=KEY, hide_keys=True, metered=lambda: True)
    async with open_persistence(tmp_path / "a.db", sync=sync) as store:
        longest = "n" * 900
        await store.save_many({longest: 1, "k": 2})
        status = await store.sync.now()
        assert status.sent == 1
        ((key, why),) = status.faults
        assert key == longest
        assert "its name takes" in why


async def test_the_key_of_names_is_damaged(tmp_path):
    """It is told by name, and what the place holds is left as it is."""
    async with SQLiteAdapter(tmp_path / "remote.db") as place:
        await place.commit({SYNC + "names": b"rubbish"})
        with pytest.raises(CorruptedDataError, match="hides the names"):
            await Hidden(place).aopen()
