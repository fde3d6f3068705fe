"""What a newer version of the program wrote is still there after an older one has saved over it."""

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import timedelta

import attrs
import msgspec
import pydantic
import pytest

from axiom_persistence import Client, client_state, open_persistence
from axiom_persistence.errors import TypeMismatchError
from axiom_persistence.layers.cached import CachePolicy

STORED = {"name": "old", "size": 3, "colour": "red", "more": {"deep": [1, None]}}
CHANGED = {**STORED, "name": "new"}


@dataclass
class Data:
    name: str = ""
    size: int = 1


class Struct(msgspec.Struct):
    name: str = ""
    size: int = 1


class Frozen(msgspec.Struct, frozen=True):
    name: str = ""
    size: int = 1


@attrs.define
class Attrs:
    name: str = ""
    size: int = 1


class Model(pydantic.BaseModel):
    name: str = ""
    size: int = 1


CLASSES = [Data, Struct, Frozen, Attrs, Model]


def renamed(value, name="new"):
    if isinstance(value, Frozen):
        return msgspec.structs.replace(value, name=name)
    value.name = name
    return value


@pytest.fixture(params=["sqlite", "file", "uncached"])
async def persistence(request, tmp_path):
    where = tmp_path / ("notes" if request.param == "file" else "notes.db")
    cache = None if request.param == "uncached" else CachePolicy()
    async with open_persistence(where, cache=cache) as persistence:
        yield persistence


async def stored(persistence, key="it"):
    return await persistence.load(key, dict)


@pytest.mark.parametrize("kind", CLASSES)
async def test_update(persistence, kind):
    await persistence.save("it", STORED)
    assert (await persistence.update("it", kind, renamed, default=kind())).name == "new"
    assert await stored(persistence) == CHANGED


@pytest.mark.parametrize("kind", CLASSES)
async def test_transaction(persistence, kind):
    await persistence.save("it", STORED)
    async with persistence.transaction() as tx:
        await tx.save("it", renamed(await tx.load("it", kind)))
        assert (await tx.load("it", dict))["colour"] == "red"
        await tx.save("it", renamed(await tx.load("it", kind), "newer"))
    assert await stored(persistence) == {**STORED, "name": "newer"}


@pytest.mark.parametrize("kind", CLASSES)
async def test_the_other_verbs_of_a_transaction(persistence, kind):
    await persistence.save_many(dict.fromkeys(("it", "them/1", "them/2", "a", "b"), STORED))
    async with persistence.transaction() as tx:
        await tx.update("it", kind, renamed, default=kind())
        them = tx.collection("them", kind)
        await them.put("1", renamed(await them.get("1")))
        await them.update("2", renamed, default=kind())
        found = await tx.load_many(["a", "b"], kind)
        await tx.save_many({key: renamed(value) for key, value in found.items()})
    for key in ("it", "them/1", "them/2", "a", "b"):
        assert await stored(persistence, key) == CHANGED


@pytest.mark.parametrize("kind", CLASSES)
async def test_a_collection_whose_items_expire(persistence, kind):
    await persistence.save_many(dict.fromkeys(("them/1", "them/2", "them/3"), STORED))
    them = persistence.collection("them", kind, ttl=timedelta(days=1))
    await them.put("1", renamed(await them.get("1")))
    await them.update("2", renamed, default=kind())
    assert await them.save_all({"3": kind(name="new", size=3), "4": kind(name="four")}) == 2
    for key in ("them/1", "them/2", "them/3"):
        assert await stored(persistence, key) == CHANGED
    assert await stored(persistence, "them/4") == {"name": "four", "size": 1}
    assert await them.expires_at("1") is not None
    assert await them.expires_at("3") is not None
    assert await them.expires_at("2") is None


async def test_a_transaction_that_did_not_load_replaces(persistence):
    await persistence.save_many({"it": STORED, "other": STORED})
    async with persistence.transaction() as tx:
        await tx.save("it", Data())
        await tx.load("other", Data)
        await tx.delete("other")
        await tx.save("other", Data())
    assert await stored(persistence) == await stored(persistence, "other") == {"name": "", "size": 1}


async def test_a_plain_save_replaces(persistence):
    await persistence.save("it", STORED)
    await persistence.save("it", Data("new", 3))
    assert await stored(persistence) == {"name": "new", "size": 3}


@pytest.mark.parametrize("kind", CLASSES)
async def test_put_in_a_collection(persistence, kind):
    await persistence.save("them/1", STORED)
    them = persistence.collection("them", kind)
    await them.put("1", renamed(await them.get("1")))
    await them.put("2", kind(name="two"))
    assert await stored(persistence, "them/1") == CHANGED
    assert await stored(persistence, "them/2") == {"name": "two", "size": 1}
    await them.delete("1")
    await them.put("1", kind(name="one"))
    assert await stored(persistence, "them/1") == {"name": "one", "size": 1}


@pytest.mark.parametrize("kind", CLASSES)
async def test_save_all_of_a_collection(persistence, kind):
    await persistence.save_many({"them/1": STORED, "them/2": {"name": "two", "size": 1}, "them/3": STORED})
    them = persistence.collection("them", kind)
    items = await them.load_all()
    assert await them.save_all(items) == 0
    items["1"] = renamed(items["1"])
    assert await them.save_all(items) == 1
    assert await stored(persistence, "them/1") == CHANGED
    items["1"] = renamed(items["1"], "newest")
    assert await them.save_all(items) == 1
    assert await stored(persistence, "them/1") == {**STORED, "name": "newest"}
    assert await stored(persistence, "them/3") == STORED
    fresh = persistence.collection("them", kind)
    assert await fresh.save_all({"3": kind(name="old", size=3)}) == 0


async def test_an_item_of_another_type_is_replaced(persistence):
    await persistence.save("them/1", [1, 2])
    them = persistence.collection("them", Data)
    await them.put("1", Data("one"))
    await persistence.save("them/2", "text")
    await them.save_all({"2": Data("two")})
    assert await them.load_all() == {"1": Data("one"), "2": Data("two")}


class Holder(Client, name="Holder"):
    data: Data = client_state(default_factory=Data)
    frozen: Frozen = client_state(Frozen())
    items: list[Data] = client_state(default_factory=list)


ITEMS = [{"name": name, "size": 1, "extra": name} for name in "abc"]


async def test_the_fields_of_a_client(persistence):
    await persistence.save_many({"Holder/data": STORED, "Holder/frozen": STORED, "Holder/items": ITEMS})
    async with Holder(persistence) as holder:
        holder.frozen = renamed(holder.frozen)
        holder.data.name = "new"  # noticed
        holder.items[1].size = 7
        del holder.items[0]
        await holder.persist_state()
        assert await stored(persistence, "Holder/frozen") == CHANGED
        assert await stored(persistence, "Holder/data") == CHANGED
        expected = [{**ITEMS[1], "size": 7}, ITEMS[2]]
        assert await persistence.load("Holder/items", list) == expected
        holder.items[0].name = "z"  # found again although it shares no mark with what was restored
        await holder.persist_state()
        assert await persistence.load("Holder/items", list) == [{**expected[0], "name": "z"}, ITEMS[2]]
        async with holder.transaction():
            holder.data = replace(holder.data, name="newest")
    assert await stored(persistence, "Holder/data") == {**STORED, "name": "newest"}


async def test_assigned_before_the_restore(persistence):
    await persistence.save("Holder/data", STORED)
    holder = Holder(persistence)
    holder.data = Data("new", 3)
    async with holder:
        pass
    assert await stored(persistence, "Holder/data") == CHANGED


async def test_a_client_takes_what_another_stored(persistence):
    async with Holder(persistence) as holder:
        holder.data = Data("mine")
        await holder.persist_state()
        async with open_persistence(persistence.location) as other:
            await other.save("Holder/data", STORED)
            async with asyncio.timeout(60), aclosing(holder.observe("data")) as values:
                await anext(value async for value in values if value.size == 3)
        holder.data = Data("new", 3)
        await holder.persist_state()
        assert await stored(persistence, "Holder/data") == CHANGED
        await holder.reset("data")
        holder.data = Data("fresh")
    assert await stored(persistence, "Holder/data") == {"name": "fresh", "size": 1}


class Strict(pydantic.BaseModel, extra="forbid"):
    name: str = ""
    size: int = 1


class StrictStruct(msgspec.Struct, forbid_unknown_fields=True):
    name: str = ""
    size: int = 1


@pytest.mark.parametrize("kind", [Strict, StrictStruct])
async def test_a_class_that_forbids_unknown_fields_says_so(persistence, kind):
    await persistence.save("it", STORED)
    with pytest.raises(TypeMismatchError, match=r"newer version.*forbid") as raised:
        await persistence.update("it", kind, renamed, default=kind())
    assert raised.value.key == "it"
    assert await stored(persistence) == STORED


@dataclass
class Deep:
    """Knows nothing of what is stored two levels below."""

    inner: dict[str, list[Data]] = field(default_factory=dict)


async def test_nested(persistence):
    value = {"inner": {"x": ITEMS, "y": []}, "z": 1}
    await persistence.save("it", value)

    def change(deep):
        deep.inner["x"][2].size = 5
        deep.inner["new"] = [Data("n")]
        return deep

    await persistence.update("it", Deep, change, default=Deep())
    expected = {"x": [*ITEMS[:2], {**ITEMS[2], "size": 5}], "y": [], "new": [{"name": "n", "size": 1}]}
    assert await stored(persistence) == {"inner": expected, "z": 1}
