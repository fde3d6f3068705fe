"""A store is brought to another version whole or not at all, and back."""

import asyncio
import contextlib
import itertools
from typing import Any

import pytest

from axiom_persistence.errors import (
    ConfigurationError,
    MigrationError,
    SchemaTooNewError,
    StorageFullError,
)
from axiom_persistence.jobs import migrate as job
from axiom_persistence.jobs._originals import ORIGINALS
from axiom_persistence.records.record import open_record
from support.embedded import listed, quarantined, raw
from support.migrations import STORE_STEPS, chain, expected, first_values, forms


async def everything(persistence):
    """Every record, the header too, as bytes; and what is kept before each of users."""
    adapter = persistence.adapter
    keys = [key async for key in adapter.keys("") if not key.startswith(ORIGINALS)]
    found = {key: stored.data for key, stored in (await adapter.fetch(keys)).items()}
    before = await adapter.previous_many([key for key in keys if key[0] != "\x01"])
    return found, {key: stored.data for key, stored in before.items()}


async def values(persistence):
    return {key: await persistence.load(key, Any) for key in await listed(persistence)}


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Several commits, though the stores of these tests are small."""
    for module in (job,):
        monkeypatch.setattr(module, "CHUNK", 4)


async def old_store(kept, count=10):
    async with kept.open() as old:
        await old.save_many(first_values(count))
        for key in ("note/000", "unaffected", "profile", "colour", "item/001"):
            await old.save(key, first_values(count)[key])
            await old.save("item/002", {"size": 17})
        await old.save("item/002", first_values(count)["item/002"])
        return await everything(old)


async def test_a_chain_of_value_and_store_steps(kept):
    """1.0 to 4.0: afterwards everything is as a fresh store of the new version would have it."""
    before = await old_store(kept)
    async with kept.open(migrations=chain()) as new:
        phases = []
        report = await new.migrate("1.0", "4.0", progress=lambda p: phases.append(p.phase))
        assert await values(new) == expected(10)
        assert report
        assert report.records > 0
        assert report.moved["settings"] == "written"
        assert report.moved["colour"] == "deleted"
        assert report.steps["split_name"] == 1
        assert {"checking", "rewriting"} == {*phases}
        for key in await listed(new):
            assert open_record(key, await raw(new, key)).schema == new.place(key)[0].schema_of(key)
        assert await raw(new, "unaffected") == before[0]["unaffected"]
        again = await new.migrate("1.0", "4.0")
        assert not again
        assert again.records == 0
    async with kept.open() as old:
        with pytest.raises(SchemaTooNewError):
            await old.save("anything", 1)
        with pytest.raises(SchemaTooNewError, match="rearranged"):
            await old.load("colour", str)


async def test_a_fresh_store_has_the_same_records(kept, tmp_path):
    """Record for record: the bytes of a migrated store are those that the new version writes itself."""
    await old_store(kept)
    other = type(kept)(kept.kind, tmp_path / "fresh")
    (tmp_path / "fresh").mkdir()
    async with kept.open(migrations=chain()) as new, other.open(migrations=chain()) as fresh:
        await new.migrate("1.0", "4.0")
        await fresh.save_many(expected(10))
        for key in await listed(fresh):
            assert await raw(new, key) == await raw(fresh, key), key
        assert await listed(new) == await listed(fresh)


async def test_a_dry_run_writes_nothing(kept):
    """It reports what a migration would do, from the same code."""
    before = await old_store(kept)
    async with kept.open(migrations=chain()) as new:
        report = await new.migrate("1.0", "4.0", dry_run=True)
        assert report.dry_run
        assert await everything(new) == before
        done = await new.migrate("1.0", "4.0")
        assert (report.rewritten, report.moved) == (done.rewritten, done.moved)
        assert report.steps == done.steps


async def test_a_failing_step_changes_nothing(kept):
    """By exception, by what cannot be stored, by validation: byte for byte as before, step or key named."""
    before = await old_store(kept)
    tried = 0
    for step, how in itertools.product(forms(), ["raises", "async", "not json", "invalid"]):
        if how == "async" and step in STORE_STEPS:
            continue
        async with kept.open(migrations=chain(fail=step, how=how)) as new:
            with pytest.raises(MigrationError) as caught:
                await new.migrate("1.0", "4.0")
            if how in ("raises", "async") or step not in STORE_STEPS:
                assert caught.value.step == step
                assert step in str(caught.value)
            if how != "raises" or step not in STORE_STEPS:
                assert caught.value.key in str(caught.value)
            assert await everything(new) == before, (step, how)
        tried += 1
    assert tried == 18
    async with kept.open() as old:
        assert await values(old) == first_values(10)
        await old.save("still", "works")


async def test_what_fails_while_rewriting_is_put_back(kept, monkeypatch):
    """After the switch: every record and the generation before it are as they were; the old program works."""
    before = await old_store(kept)
    for error in (StorageFullError("no room"), asyncio.CancelledError()):
        for chunk in (1, 3):
            rewrite, seen = job._Migration._rewrite, []

            async def failing(self, page, id, rewrite=rewrite, seen=seen, chunk=chunk, error=error):
                seen.append(1)
                await rewrite(self, page, id)
                if len(seen) == chunk:
                    raise error

            monkeypatch.setattr(job._Migration, "_rewrite", failing)
            async with kept.open(migrations=chain()) as new:
                with pytest.raises(type(error)):
                    await new.migrate("1.0", "4.0")
                assert await everything(new) == before
                assert await listed_originals(new) == []
            monkeypatch.setattr(job._Migration, "_rewrite", rewrite)
            async with kept.open() as old:
                await old.save("still", "works")
                await old.delete("still")
    async with kept.open(migrations=chain()) as new:
        await new.migrate("1.0", "4.0")
        assert await values(new) == expected(10)


async def listed_originals(persistence):
    return [key async for key in persistence.adapter.keys(ORIGINALS)]


async def test_a_cancellation_at_any_moment_leaves_one_version(kept):
    """Cancelled after each number of turns of the loop: the store is at the old version or at the new."""
    before = await old_store(kept)
    for turns in (*range(12), 20, 30, 50, 80, 130):
        async with kept.open(migrations=chain()) as new:
            task = asyncio.ensure_future(new.migrate("1.0", "4.0"))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            if task.cancelled():
                assert await everything(new) == before
            else:
                assert await values(new) == expected(10)
                await new.rollback("1.0")
            assert await listed_originals(new) == []


async def test_rollback_from_originals(kept):
    """What nobody has saved since is byte for byte as before; what was saved is converted or set aside."""
    before, _ = await old_store(kept)
    async with kept.open(migrations=chain()) as new:
        await new.migrate("1.0", "4.0")
        await new.update("profile", dict, lambda value: value | {"first": "Augusta"}, default={})
        await new.update("item/001", dict, lambda value: value | {"size": 99}, default={})
        await new.save("later", [1])
        report = await new.rollback("1.0")
        assert report.set_aside == ["item/001"]
        assert [key for key, _ in await quarantined(new)] == ["item/001"]
        after, _ = await everything(new)
        for key, data in before.items():
            if key not in ("profile",):
                assert after[key] == data, key
        assert await listed_originals(new) == []
    async with kept.open() as old:
        assert (await old.load("profile", dict))["name"] == "Augusta Lovelace"
        assert await old.load("later", list) == [1]
        await old.save("profile", {"name": "old again"})


async def test_after_finalize_the_way_back_is_down(kept):
    """``finalize`` drops the originals; a rollback needs every ``down`` then, or changes nothing."""
    before, _ = await old_store(kept)
    migrations = chain(downs=True)
    async with kept.open(migrations=migrations) as new:
        await new.migrate("1.0", "4.0")
        assert await new.finalize() > 10
        assert await new.finalize() == 0
        assert await listed_originals(new) == []
        assert await values(new) == expected(10)
        await new.rollback("1.0")
    async with kept.open() as old:
        assert await values(old) == first_values(10)
        assert await raw(old, "unaffected") == before["unaffected"]
        await old.save("still", "works")
    async with kept.open(migrations=chain()) as new:
        await new.migrate("1.0", "4.0")
        await new.finalize()
        now = await everything(new)
        with pytest.raises(MigrationError, match="no down"):
            await new.rollback("1.0")
        assert await everything(new) == now


async def test_wrong_calls(kept):
    """What cannot be is said before anything is looked at."""
    await old_store(kept)
    async with kept.open(migrations=chain()) as new:
        for versions in (("1.0", "3.0"), ("0.5", "4.0"), ("1.0", "9.0")):
            with pytest.raises(ConfigurationError):
                await new.migrate(*versions)
        with pytest.raises(MigrationError, match=r"at version 1\.0"):
            await new.migrate("2.0", "4.0")
    async with kept.open() as old:
        await old.migrate("1.0", "1.0")
        with pytest.raises(ConfigurationError, match=r"2\.0"):
            await old.migrate("1.0", "2.0")
