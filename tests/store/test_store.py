"""Records in a store: expiry, newer programs, the application's choice about damage."""

import logging
from datetime import timedelta

import pytest

from axiom_persistence import MISSING, AdapterBasedPersistence, Corruption, MemoryAdapter
from axiom_persistence.errors import (
    AccessDeniedError,
    ConfigurationError,
    ConflictError,
    CorruptedDataError,
    SchemaTooNewError,
    StorageError,
)
from axiom_persistence.keys import INTERNAL
from axiom_persistence.layers.read_only import ReadOnly
from axiom_persistence.records.record import seal_record
from axiom_persistence.store._header import HEADER
from axiom_persistence.store.store import Store
from support.embedded import Kept, listed, plant, quarantined, raw

NEWER_FORMAT = b'{"axiom":2,"sum":"0123456789abcdef0123456789abcdef","any":"thing"}'


@pytest.fixture
def persistence(each_store):
    return each_store


@pytest.fixture
async def memory():
    async with AdapterBasedPersistence(MemoryAdapter()) as opened:
        yield opened


class Clock:
    """A wall clock that a test sets."""

    def __init__(self):
        self.now = 1_700_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
async def timed():
    """A store with a clock, open."""
    clock = Clock()
    store = Store(MemoryAdapter(), clock=clock)
    await store.aopen()
    yield store, clock
    await store.aclose()


# -- expiry -----------------------------------------------------------------------------------------


async def test_an_expired_value_counts_as_missing(timed):
    """Until its time a value is there; from then on no verb finds it, though keys() may list it."""
    store, clock = timed
    await store.save("k", "v", expires=store.expiry(timedelta(seconds=10)))
    clock.now += 9.99
    assert await store.load("k", str, MISSING) == "v"
    assert store.load_now("k", str, MISSING) is not MISSING
    assert await store.exists("k")
    clock.now += 0.01
    assert await store.load("k", str, MISSING) is MISSING
    assert store.load_now("k", str, MISSING) != "v"
    assert await store.load_many(["k"], str) == {}
    assert not await store.exists("k")
    assert await store.delete(["k"]) == 0
    await store.save("k", "again")
    assert await store.exists("k")


async def test_saving_again_without_ttl_keeps_a_value_for_good(timed):
    """Each save says how long; one that says nothing means for ever."""
    store, clock = timed
    await store.save("k", 1, expires=store.expiry(timedelta(seconds=1)))
    await store.save("k", 2)
    clock.now += 1000
    assert await store.load("k", int, None) == 2


async def test_update_keeps_the_time_a_value_expires(timed):
    """update changes the value, not its time; and from an expired value it starts at the default."""
    from axiom_persistence.persistence._turns import update

    store, clock = timed
    await store.save("k", 1, expires=store.expiry(timedelta(seconds=10)))
    assert await update(store, "k", int, lambda n: n + 1, 0) == 2
    assert (await store.describe("k")).expires_at == clock.now + 10
    clock.now += 10
    assert await update(store, "k", int, lambda n: n + 1, 0) == 1


@pytest.mark.parametrize("ttl", [timedelta(0), timedelta(seconds=-1), -5, 0, True, float("nan"), 1e20, "1h"])
async def test_a_ttl_is_a_time_above_zero(memory, ttl):
    """Any other ttl is refused, and nothing is stored."""
    with pytest.raises(ConfigurationError, match="ttl"):
        await memory.save("k", 1, ttl=ttl)
    with pytest.raises(ConfigurationError, match="ttl"):
        await memory.save_many({"k": 1}, ttl=ttl)
    assert not await memory.exists("k")


async def test_ttl_reaches_every_verb(persistence):
    """save, save_many and a transaction's save all keep the time."""
    await persistence.save("a", 1, ttl=timedelta(hours=1))
    await persistence.save_many({"b": 1}, ttl=timedelta(hours=1))
    async with persistence.transaction() as tx:
        await tx.save("c", 1, ttl=timedelta(hours=1))
        assert await tx.load("c", int) == 1
    infos = [await persistence.describe(key) for key in "abc"]
    assert all(info.expires_at is not None for info in infos)
    assert await persistence.load_many(["a", "b", "c"], int) == {"a": 1, "b": 1, "c": 1}


async def test_a_save_sets_the_expiry_anew_and_update_keeps_it(persistence):
    """One rule for every verb: what saves without a ttl keeps the value for good; update keeps its time."""
    hour = timedelta(hours=1)

    async def in_transaction():
        async with persistence.transaction() as tx:
            await tx.load("c/k", int)
            await tx.save("c/k", 2)

    collection = persistence.collection("c", int)
    for save in (
        lambda: persistence.save("c/k", 2),
        lambda: persistence.save_many({"c/k": 2}),
        lambda: collection.put("k", 2),
        lambda: collection.save_all({"k": 1}),
        in_transaction,
    ):
        await persistence.save("c/k", 1, ttl=hour)
        await persistence.update("c/k", int, lambda n: n, default=0)
        assert (await persistence.describe("c/k")).expires_at is not None
        await save()
        assert (await persistence.describe("c/k")).expires_at is None


# -- what exists ------------------------------------------------------------------------------------


async def test_exists_decodes_nothing(persistence, monkeypatch):
    """exists is true for a value, a damaged record and one of another type, without decoding any."""
    await persistence.save("value", [1])
    await persistence.save("damaged", 1)
    await plant(persistence, "damaged", b"no record")
    await plant(persistence, "newer", NEWER_FORMAT)

    def refuse(*_):
        raise AssertionError("decoded")

    monkeypatch.setattr("axiom_persistence.records.codec.decode_value", refuse)
    monkeypatch.setattr("axiom_persistence.records.codec.decoder_of", refuse)
    with pytest.raises(AssertionError, match="decoded"):
        await persistence.load("value", list)
    for key in ("value", "damaged", "newer"):
        assert await persistence.exists(key)
    assert not await persistence.exists("absent")
    assert await raw(persistence, "damaged") == b"no record"


# -- newer programs ---------------------------------------------------------------------------------


@pytest.mark.parametrize("record", [seal_record("k", b'"v2"', "2.0"), NEWER_FORMAT], ids=["schema", "format"])
async def test_what_a_newer_program_wrote_is_not_touched(persistence, record):
    """SchemaTooNewError at load and at every save over it; the bytes stay, and other keys work."""
    await persistence.save("other", 1)
    await plant(persistence, "k", record)

    async def in_transaction():
        async with persistence.transaction() as tx:
            await tx.save("other", 2)
            await tx.save("k", 1)

    for attempt in (
        lambda: persistence.load("k", str),
        lambda: persistence.load_many(["other", "k"], str),
        lambda: persistence.save("k", "mine"),
        lambda: persistence.save_many({"other": 2, "k": "mine"}),
        lambda: persistence.update("k", str, lambda old: "mine", default=""),
        in_transaction,
    ):
        with pytest.raises(SchemaTooNewError) as caught:
            await attempt()
        assert caught.value.key == "k"
        assert "update" in str(caught.value)
    assert await raw(persistence, "k") == record
    assert await persistence.load("other", int) == 1
    assert persistence.reports == ()
    report = await persistence.verify(repair=True)
    assert [finding.outcome for finding in report.findings] == (["too new"] if record == NEWER_FORMAT else [])
    assert await raw(persistence, "k") == record


async def test_a_newer_record_may_be_deleted_or_replaced_by_others(memory):
    """Deleting is explicit; and once a readable value is found again, saving works again."""
    await plant(memory, "k", seal_record("k", b'"v2"', "2.0"))
    with pytest.raises(SchemaTooNewError):
        await memory.load("k", str)
    await plant(memory, "k", seal_record("k", b'"v1"', "1.0"))
    assert await memory.load("k", str) == "v1"
    await memory.save("k", "mine")
    await plant(memory, "k", seal_record("k", b'"v2"', "2.0"))
    with pytest.raises(SchemaTooNewError):
        await memory.load("k", str)
    assert await memory.delete("k")
    await memory.save("k", "mine")


async def test_the_same_major_version_is_readable(memory):
    """1.7 is read by a program of 1.0; so is a next major version that left a compatible body."""
    await plant(memory, "minor", seal_record("minor", b"1", "1.7"))
    await plant(memory, "compat", seal_record("compat", b'{"new":1}', "2.0", compat=b'"old"'))
    assert await memory.load("minor", int) == 1
    assert await memory.load("compat", str) == "old"


async def test_a_store_of_a_newer_format_is_refused_at_opening(kept):
    """A header of a later format: SchemaTooNewError, nothing changed."""
    async with kept.open() as persistence:
        await persistence.save("k", 1)
        header = seal_record(HEADER, b'{"id":"x","format":2}', "1.0")
        await plant(persistence, HEADER, header)
    with pytest.raises(SchemaTooNewError, match="format 2"):
        await kept.open()
    async with kept.adapter() as adapter:
        assert await adapter.read(HEADER) == header


async def test_a_newer_previous_generation_is_not_lost_to_a_repair(memory):
    """When only a newer program could read the previous generation, recovery waits for that program."""
    newer = seal_record("k", b'"v2"', "2.0")
    await plant(memory, "k", newer)
    await plant(memory, "k", b"damaged")
    with pytest.raises(SchemaTooNewError):
        await memory.load("k", str)
    assert await raw(memory, "k") == b"damaged"
    assert (await memory.adapter.previous("k")).data == newer


async def test_a_store_with_an_old_schema_reads_its_own_header():
    """The library's own records have a schema of their own."""
    adapter = MemoryAdapter()
    for _ in range(2):
        store = Store(adapter, schema="0.9")
        await store.aopen()
        await store.save("k", 1)
        assert await store.load("k", int, None) == 1


# -- damage, and whose choice it is -----------------------------------------------------------------


async def damaged_store(kept, **options):
    async with kept.open() as persistence:
        await persistence.save("k", "first")
        await persistence.save("k", "second")
        await plant(persistence, "single", b"damaged")
        await plant(persistence, "k", (await raw(persistence, "k"))[:-2])
    return kept.open(**options)


async def test_a_function_chooses_for_each_damaged_record(tmp_path):
    """on_corruption may be a function of the report: it is asked each time, and its answer is done."""
    asked = []

    def choose(report):
        asked.append(report)
        return Corruption.RECOVER if report.recovered else "raise"

    kept = Kept("memory", tmp_path)
    async with await damaged_store(kept, on_corruption=choose) as persistence:
        # The generation before the current one is what the cut has replaced.
        assert await persistence.load("k", str) == "second"
        with pytest.raises(CorruptedDataError) as caught:
            await persistence.load("single", str)
        assert caught.value.key == "single"
    assert [report.key for report in asked] == ["k", "single"]
    report = asked[0]
    assert report.size > 0
    assert report.reason
    assert report.quarantine.startswith(INTERNAL + "quarantine/")
    assert "MemoryAdapter" in report.adapter


@pytest.mark.parametrize("answer", ["explode", None, 5])
async def test_a_function_with_another_answer_changes_nothing(memory, answer):
    """An answer that is no choice is ConfigurationError; the bytes stay, and a save keeps them."""
    async with AdapterBasedPersistence(memory.adapter, on_corruption=lambda _: answer) as persistence:
        await plant(persistence, "k", b"damaged")
        with pytest.raises(ConfigurationError, match="on_corruption"):
            await persistence.load("k", str)
        assert await raw(persistence, "k") == b"damaged"
        await persistence.save("k", "new")
        assert await quarantined(persistence) == [("k", b"damaged")]


async def test_a_function_that_raises_changes_nothing(memory):
    """The application's own exception passes through; a later save still keeps the damaged bytes."""

    def fail(report):
        raise LookupError(report.key)

    async with AdapterBasedPersistence(memory.adapter, on_corruption=fail) as persistence:
        await plant(persistence, "k", b"damaged")
        with pytest.raises(LookupError):
            await persistence.load("k", str)
        await persistence.save("k", "new")
        assert await persistence.load("k", str) == "new"
        assert await quarantined(persistence) == [("k", b"damaged")]


@pytest.mark.parametrize("choice", ["explode", 5, None])
def test_a_choice_that_is_none_is_refused_when_built(choice):
    """on_corruption= is checked at once."""
    with pytest.raises(ConfigurationError, match="on_corruption"):
        AdapterBasedPersistence(MemoryAdapter(), on_corruption=choice)


async def test_a_save_over_damage_moves_it_to_quarantine_first(kept):
    """With RAISE, bytes found unreadable are not overwritten but moved, in the commit of the save."""
    async with kept.open(on_corruption="raise") as persistence:
        await persistence.save("k", "good")
        for verb in ("save", "save_many", "transaction"):
            damage = verb.encode()
            await plant(persistence, "k", damage)
            with pytest.raises(CorruptedDataError) as caught:
                await persistence.load("k", str)
            assert caught.value.key == "k"
            if verb == "save":
                await persistence.save("k", verb)
            elif verb == "save_many":
                await persistence.save_many({"k": verb, "j": 1})
            else:
                async with persistence.transaction() as tx:
                    await tx.save("k", verb)
            assert await persistence.load("k", str) == verb
            assert ("k", damage) in await quarantined(persistence)
        assert len(await quarantined(persistence)) == 3


async def test_update_and_transactions_do_not_read_damage_as_missing(memory):
    """With RAISE a read-modify-write stops at damage; with RECOVER it starts from what came back."""
    await memory.save("n", 5)
    await plant(memory, "n", b"damaged")
    async with AdapterBasedPersistence(memory.adapter, on_corruption="raise") as strict:
        with pytest.raises(CorruptedDataError):
            await strict.update("n", int, lambda n: n + 1, default=0)
        await strict.adapter.aopen()
    await memory.adapter.aopen()
    assert await memory.update("n", int, lambda n: n + 1, default=0) == 6
    assert [report.recovered for report in memory.reports] == [True]


async def test_somebody_elses_repair_is_taken(memory):
    """A record healed behind our back is simply read, and a save over it moves nothing."""
    async with AdapterBasedPersistence(memory.adapter, on_corruption="raise") as strict:
        await strict.save("k", "good")
        good = await raw(strict, "k")
        await plant(strict, "k", b"damaged")
        with pytest.raises(CorruptedDataError):
            await strict.load("k", str)
        await plant(strict, "k", good)
        assert await strict.load("k", str) == "good"
        await strict.save("k", "better")
        assert await quarantined(strict) == []


async def test_a_repair_that_cannot_be_written_says_so(memory):
    """Behind a read-only layer damage is CorruptedDataError, and the bytes stay in place."""
    await plant(memory, "k", b"damaged")
    async with AdapterBasedPersistence(ReadOnly(memory.adapter)) as persistence:
        with pytest.raises(CorruptedDataError, match="could not be repaired"):
            await persistence.load("k", str)
        with pytest.raises(AccessDeniedError):
            await persistence.save("k", 1)
    await memory.adapter.aopen()
    assert await raw(memory, "k") == b"damaged"


async def test_a_repair_is_logged(memory, caplog):
    """Each repair is one warning that names the key."""
    await plant(memory, "some key", b"damaged")
    with caplog.at_level(logging.WARNING, "axiom_persistence"):
        await memory.load("some key", str)
    (entry,) = caplog.records
    assert entry.levelname == "WARNING"
    assert "some key" in entry.getMessage()


async def test_the_first_save_of_a_store_logs_its_place(kept, caplog):
    """Where a new store is, is said once, at INFO."""
    with caplog.at_level(logging.INFO, "axiom_persistence"):
        for _ in range(2):
            async with kept.open() as persistence:
                await persistence.save("k", 1)
                await persistence.save("k", 2)
                where = persistence.location
    assert [entry.getMessage() for entry in caplog.records] == [f"a new store begins: {where}"]


async def test_a_confidential_store_quotes_no_value():
    """Errors of a confidential store name the key and the path, never the content."""
    from axiom_persistence.testing import ConfidentialMemory

    async with AdapterBasedPersistence(ConfidentialMemory()) as persistence:
        await persistence.save("token", "hunter2")

        async def in_transaction():
            async with persistence.transaction() as tx:
                await tx.save("token", "hunter2")
                await tx.load("token", int)

        class Plain:
            def __repr__(self):
                return "hunter2"

        for attempt in (
            lambda: persistence.load("token", int),
            lambda: persistence.save("token", "hunter2", type=int),
            lambda: persistence.save("token", {("hunter2",): 1}),
            lambda: persistence.save("token", Plain(), type=int),
            in_transaction,
        ):
            with pytest.raises((TypeError, ValueError)) as caught:
                await attempt()
            error = caught.value
            assert "hunter2" not in f"{error} {error!r} {error.__cause__} {error.args}"
            assert error.key == "token"
            assert error.__context__ is None


# -- the header and several programs ----------------------------------------------------------------


async def test_two_programs_may_begin_one_store(kept):
    """Both find no header and save: one header stays, and both saves."""
    if kept.kind == "memory":
        first = second = kept.open()
        second = AdapterBasedPersistence(first.adapter)
    else:
        first, second = kept.open(), kept.open()
    async with first, second:
        await first.save("a", 1)
        header = await raw(first, HEADER)
        await second.save("b", 2)
        assert await raw(first, HEADER) == header
        assert await listed(first) == ["a", "b"]


async def test_a_failed_first_save_leaves_no_half_store(memory, monkeypatch):
    """If the first commit fails, the next save writes the header with its value."""
    adapter = MemoryAdapter()
    commit = adapter.commit
    calls = []

    async def fail_once(changes, **options):
        calls.append(set(changes))
        if len(calls) == 1:
            raise StorageError("the disk said no")
        return await commit(changes, **options)

    monkeypatch.setattr(adapter, "commit", fail_once)
    async with AdapterBasedPersistence(adapter) as persistence:
        with pytest.raises(StorageError) as caught:
            await persistence.save("k", 1)
        assert (caught.value.key, caught.value.adapter) == ("k", str(adapter))
        await persistence.save("k", 2)
        await persistence.save("k", 3)
    assert calls == [{HEADER, "k"}, {HEADER, "k"}, {"k"}]


async def test_expectations_of_the_caller_stay_the_callers(memory):
    """A conflict about a damaged key that the caller has an expectation for is the caller's to see."""
    store = memory._store
    await plant(memory, "k", b"damaged")
    async with AdapterBasedPersistence(memory.adapter, on_corruption="raise") as strict:
        with pytest.raises(CorruptedDataError):
            await strict.load("k", str)
        store = strict._store
        with pytest.raises(ConflictError):
            await store.commit({"k": store.seal("k", 1)}, expect={"k": "never"})
        assert await quarantined(strict) == []
