"""The verbs that users call, on every embedded store."""

import asyncio
import logging

import pytest

from axiom_persistence import AdapterBasedPersistence, Durability, Key, MemoryAdapter
from axiom_persistence.errors import ConfigurationError, CorruptedDataError, StorageError, TypeMismatchError
from axiom_persistence.storage.changelog import ChangeLog
from axiom_persistence.storage.layer import Layer
from support.embedded import SERVED, listed, raw


@pytest.fixture
def persistence(each_store):
    return each_store


async def test_what_is_saved_is_there_after_closing_and_opening(kept):
    """Save, close, open, load: the same value; deleted values stay away."""
    async with kept.open() as persistence:
        await persistence.save("k", {"n": 1})
        await persistence.save("gone", 1)
        assert await persistence.delete("gone")
    async with kept.open() as persistence:
        assert await persistence.load("k", dict) == {"n": 1}
        assert await persistence.load("gone", int) is None
        assert await listed(persistence) == ["k"]


async def test_the_many_forms_are_one_commit(persistence):
    """save_many, load_many and delete_many take many keys, in one commit each."""
    values = {f"k{i:03}": i for i in range(100)}
    await persistence.save_many({})
    assert await listed(persistence) == []
    await persistence.save_many(values)
    assert await persistence.load_many(values, int) == values
    assert await persistence.load_many([], int) == {}
    assert await persistence.load_many(iter(["k001", "absent", "k001"]), int) == {"k001": 1}
    assert await persistence.delete_many(["k000", "k001", "k000", "absent"]) == 2
    assert await persistence.delete_many([]) == 0
    assert await listed(persistence, "k00") == [f"k{i:03}" for i in range(2, 10)]


async def test_a_save_many_with_one_bad_value_stores_nothing(persistence):
    """All or nothing, also where the last value cannot be written."""
    with pytest.raises(TypeMismatchError) as caught:
        await persistence.save_many({"a": 1, "b": "x"}, type=int)
    assert caught.value.key == "b"
    assert await listed(persistence) == []


async def test_delete_says_whether_it_was_there(persistence):
    """True once, False from then on."""
    await persistence.save("k", None)
    assert await persistence.delete("k") is True
    assert await persistence.delete("k") is False


async def test_deleting_forgets_the_kept_generations_too(persistence):
    """After a delete nothing is left to come back, from damage either."""
    if persistence.adapter.find(ChangeLog):
        pytest.skip("it keeps no generations")
    await persistence.save("k", 1)
    await persistence.save("k", 2)
    assert (await persistence.describe("k")).has_previous
    await persistence.delete("k")
    assert await persistence.describe("k") is None
    assert await persistence.adapter.previous("k") is None


async def test_describe_tells_without_decoding(persistence):
    """Size, schema, time and generations of a record; None for nothing."""
    await persistence.save("k", "value")
    info = await persistence.describe("k")
    assert info.key == "k"
    assert info.size == len(await raw(persistence, "k"))
    assert (info.schema, info.damage, info.too_new, info.expires_at) == ("1.0", None, False, None)
    assert not info.has_previous
    assert info.confidential == persistence.adapter.traits.confidential
    assert info.saved_at is None or info.saved_at > 1_700_000_000
    assert await persistence.describe("nothing") is None


async def test_a_durability_can_be_named_at_each_call(persistence):
    """As a member or as its text; one that the adapter cannot promise is refused, nothing stored."""
    strongest = persistence.adapter.traits.durability
    for durability in Durability:
        for asked in (durability, durability.value):
            calls = [
                lambda asked=asked: persistence.save("k", 1, durability=asked),
                lambda asked=asked: persistence.save_many({"k": 1}, durability=asked),
                lambda asked=asked: persistence.update("k", int, lambda n: 1, default=0, durability=asked),
                lambda asked=asked: persistence.delete("k", durability=asked),
                lambda asked=asked: persistence.delete_many(["k"], durability=asked),
                lambda asked=asked: persistence.run_transaction(lambda tx: tx.save("k", 1), durability=asked),
            ]
            for call in calls:
                if durability <= strongest:
                    await call()
                else:
                    with pytest.raises(ConfigurationError, match="durability"):
                        await call()
    with pytest.raises(ConfigurationError, match="one of 'memory', 'process_exit', 'power_loss'"):
        await persistence.save("k", 1, durability="forever")


async def test_the_default_durability_is_the_strongest_there_is(persistence, monkeypatch):
    """Without a word, a save asks for what the adapter promises; with durability= for that."""
    asked = []
    commit = persistence.adapter.commit

    async def listen(changes, *, expect=None, durability=None):
        asked.append(durability)
        return await commit(changes, expect=expect, durability=durability)

    with monkeypatch.context() as patch:
        patch.setattr(persistence.adapter, "commit", listen)
        await persistence.save("k", 1)
        await persistence.save("k", 2, durability="memory")
        await persistence.flush()
    assert asked == [None, Durability.MEMORY, persistence.adapter.traits.durability]
    async with AdapterBasedPersistence(MemoryAdapter(), durability="memory") as other:
        assert other._store.default_durability is Durability.MEMORY


async def test_migrating_between_versions_nobody_declared_is_refused(persistence):
    """Without migrations there is one version: going from it to itself is fine, anything else an error."""
    await persistence.migrate("1.0", "1.0")
    with pytest.raises(ConfigurationError, match="no migration"):
        await persistence.migrate("1.0", "2.0")


async def test_load_needs_a_type(persistence):
    """load("k") says how to give one; a Key and a type together are refused."""
    with pytest.raises(ConfigurationError, match="type of the value"):
        await persistence.load("k")
    with pytest.raises(ConfigurationError, match=r"write `load\(KEY\)`"):
        await persistence.load(Key("k", int), int)


async def test_a_persistence_shows_what_it_is(persistence):
    """repr names the adapter, its place, its state and its promise; stats are numbers."""
    shown = repr(persistence)
    assert str(persistence.adapter) in shown
    assert "available" in shown
    assert f"durability={persistence.adapter.traits.durability.value}" in shown
    assert persistence.location in shown
    assert all(isinstance(count, int) for count in persistence.stats().values())


async def test_values_are_never_shared(persistence):
    """Two loads give two objects: changing one changes neither the other nor the store."""
    await persistence.save("k", [[1]])
    one, two = await persistence.load("k", list), await persistence.load("k", list)
    one[0].append("changed")
    assert two == [[1]]
    assert await persistence.load("k", list) == [[1]]


async def test_the_first_saves_of_a_store_keep_their_order(kept):
    """Saves begun one after the other before anything is stored take effect in that order."""
    async with kept.open() as persistence:

        async def save(number):
            await persistence.save("k", number)

        tasks = []
        for number in range(60):
            tasks.append(asyncio.create_task(save(number)))
            if number % 20 == 0:
                await asyncio.sleep(0)
        await asyncio.gather(*tasks)
        assert await persistence.load("k", int) == 59


async def test_many_tasks_use_one_store_at_once(persistence):
    """200 saves and loads at once, of 20 keys: each key ends with a value that was saved last for it."""

    async def work(number):
        await persistence.save(f"k{number % 20}", number, durability="memory")
        assert await persistence.load(f"k{number % 20}", int) is not None

    await asyncio.gather(*(work(number) for number in range(200)))
    found = await persistence.load_many([f"k{i}" for i in range(20)], int)
    assert found == {f"k{i}": 180 + i for i in range(20)}


# -- verify -----------------------------------------------------------------------------------------


async def test_verify_reads_everything_and_changes_nothing(persistence):
    """Without repair a report only: what is damaged, what is too new, how much was read."""
    await persistence.save_many({f"k{i}": i for i in range(300)})
    await persistence.adapter.commit({"k5": b"damaged", "k6": b'{"axiom":9,"new":1}'})
    progress = []
    report = await persistence.verify(progress=progress.append)
    assert not report
    assert report.records == 301  # and the header
    found = {finding.key: finding.outcome for finding in report.findings}
    assert found == {"k5": "damaged", "k6": "too new"}
    assert report.medium == []
    assert progress[-1].done == 301
    assert await raw(persistence, "k5") == b"damaged"
    assert persistence.reports == ()


async def test_verify_repairs_when_asked(kept, caplog):
    """With repair the ladder is taken, whatever on_corruption says; a second look finds all well."""
    caplog.set_level(logging.ERROR)
    async with kept.open(on_corruption="raise") as persistence:
        await persistence.save("twice", 1)
        await persistence.save("twice", 2)
        await persistence.adapter.commit({"once": b"damaged"})
        damaged = (await raw(persistence, "twice"))[:-1]
        # Behind the store's back the bytes change in place, so the generation before stays what it was.
        if kept.kind == "memory":
            kept._memory._records["twice"] = kept._memory._records["twice"]._replace(
                stored=(await persistence.adapter.fetch(["twice"]))["twice"]._replace(data=damaged)
            )
        else:
            await persistence.adapter.commit({"twice": damaged})
        report = await persistence.verify(repair=True)
        outcomes = {finding.key: finding.outcome for finding in report.findings}
        assert outcomes["once"] == "quarantined"
        assert outcomes["twice"] == ("quarantined" if kept.kind in SERVED else "recovered")
        assert not report
        assert await persistence.load("once", int) is None
        assert await persistence.load("twice", int) in ((None,) if kept.kind in SERVED else (1, 2))
        again = await persistence.verify()
        assert again
        assert (again.findings, again.quarantined) == ([], 2)


async def test_verify_of_a_namespace_looks_at_its_keys(persistence):
    """Only the keys of the view are read."""
    await persistence.namespace("n").save("k", 1)
    await persistence.adapter.commit({"outside": b"damaged"})
    report = await persistence.namespace("n").verify()
    assert (report.records, report.findings) == (1, [])


async def test_a_repair_that_fails_is_a_finding(caplog):
    """Where the repair cannot be written, verify goes on and says what stayed damaged."""
    caplog.set_level(logging.ERROR)

    class Full(Layer):
        async def commit(self, changes, *, expect=None, durability=None):
            raise StorageError("no room")

    memory = MemoryAdapter()
    async with AdapterBasedPersistence(memory) as persistence:
        await persistence.save("fine", 1)
        await memory.commit({"bad": b"damaged"})
    async with AdapterBasedPersistence(Full(memory)) as persistence:
        report = await persistence.verify(repair=True)
        assert [(finding.key, finding.outcome) for finding in report.findings] == [("bad", "damaged")]
        assert report.records == 3
        with pytest.raises(CorruptedDataError, match="no room"):
            await persistence.load("bad", int)
        assert await persistence.load("fine", int) == 1
