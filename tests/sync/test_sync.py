"""Two real stores and a place where they meet: what an application sees of it."""

import asyncio
import io
from typing import Any

import pytest

from axiom_persistence import Client, MemoryAdapter, Sync, client_state, open_persistence
from axiom_persistence.errors import (
    ConfigurationError,
    ForeignStoreError,
    InsecureStorageError,
    StorageError,
)
from axiom_persistence.layers.observed import Origin
from axiom_persistence.layers.tracked import SHADOW
from axiom_persistence.security import StaticKey
from axiom_persistence.sync import keep_remote, merge_set, merge_text

PLACES = {"sqlite": ("{}.db", "sqlite:{}"), "file": ("{}/", "file:{}")}


@pytest.fixture(params=["sqlite", "file"])
def meet(request, tmp_path):
    """Opens the store of a device that meets the others at one place: SQLite, or a directory."""

    def opened(name, **options):
        end = ".db" if request.param == "sqlite" else ""
        remote, where = (f"{request.param}:{tmp_path}/{place}{end}" for place in ("remote", name))
        # Only now() meets, so that the order of meetings is that of the test.
        return open_persistence(where, sync=Sync(remote, **{"metered": lambda: True, **options}))

    return opened


async def test_what_one_saves_the_other_has(meet):
    """Values of all shapes, deletions, transactions; in both directions."""
    async with meet("a") as a, meet("b") as b:
        values = {"object": {"x": 1, "y": [1, None]}, "list": [1, 2], "text": "é", "none": None, "empty": {}}
        await a.save_many(values)
        await a.sync.now()
        status = await b.sync.now()
        assert status.received == len(values)
        assert {key: await b.load(key, Any, default="absent") for key in values} == values
        await b.delete("list")
        async with b.transaction() as tx:
            await tx.save("object", {"x": 2, "y": [1, None]})
            await tx.save("more", 7)
        await b.sync.now()
        await a.sync.now()
        assert (await a.load("object", dict), await a.load("more", int)) == ({"x": 2, "y": [1, None]}, 7)
        assert not await a.exists("list")
        assert a.sync.status.conflicts == b.sync.status.conflicts == 0


async def test_it_works_by_itself(meet):
    """Nothing is called: what is saved here arrives there."""
    async with meet("a", every=0.1, metered=None) as a, meet("b", every=0.1, metered=None) as b:
        await a.save("k", 1)
        while await b.load("k", int) != 1:
            await asyncio.sleep(0.02)
        await b.save("k", 2)
        while await a.load("k", int) != 2:
            await asyncio.sleep(0.02)


async def test_fields_are_joined_and_what_lost_is_listed(meet):
    """Different fields are both kept; of one field the later change; what lost can be taken back."""
    async with meet("a") as a, meet("b") as b:
        await a.save("p", {"name": "x", "size": 1})
        await a.sync.now()
        await b.sync.now()
        await a.save("p", {"name": "from a", "size": 1})
        await b.save("p", {"name": "x", "size": 2})
        for device in (a, b, a):
            await device.sync.now()
        assert await a.load("p", dict) == await b.load("p", dict) == {"name": "from a", "size": 2}
        await a.save("p", {"name": "early", "size": 2})
        await asyncio.sleep(0.005)
        await b.save("p", {"name": "late", "size": 2})
        for device in (a, b, a):
            await device.sync.now()
        assert await a.load("p", dict) == await b.load("p", dict) == {"name": "late", "size": 2}
        (conflict,) = await b.sync.conflicts()
        assert (conflict.key, conflict.field, conflict.lost, conflict.kept) == ("p", "name", "early", "late")
        assert await b.sync.take_back(conflict)
        assert (await b.load("p", dict))["name"] == "early"
        await b.sync.now()
        await a.sync.now()
        assert (await a.load("p", dict))["name"] == "early"


async def test_resolvers_decide(meet):
    """Text is merged by lines, lists as sets, and a side can be preferred."""
    resolve = {"text/*": merge_text, "tags/*": merge_set, "theirs": keep_remote}
    async with meet("a", resolve=resolve) as a, meet("b", resolve=resolve) as b:
        await a.save_many({"text/1": "one\ntwo\nthree\n", "tags/1": ["x", "y"], "theirs": 0})
        await a.sync.now()
        await b.sync.now()
        await b.save_many({"text/1": "one\ntwo\nTHREE\n", "tags/1": ["x"], "theirs": 2})
        await a.save_many({"text/1": "ONE\ntwo\nthree\n", "tags/1": ["x", "y", "z"], "theirs": 1})
        for device in (a, b, a):
            await device.sync.now()
        for device in (a, b):
            assert await device.load("text/1", str) == "ONE\ntwo\nTHREE\n"
            assert sorted(await device.load("tags/1", list)) == ["x", "z"]
            assert await device.load("theirs", int) == 1


async def test_streams_and_clients_say_remote(meet):
    """A change of another device is told as one, and a client's field takes it."""

    class Settings(Client):
        theme: str = client_state("light")

    async with meet("a") as a, meet("b") as b, Settings(a) as ours, Settings(b) as theirs:
        told = asyncio.ensure_future(anext(aiter(b.changes("k"))))
        await asyncio.sleep(0.1)
        await a.save("k", 1)
        ours.theme = "dark"
        await a.sync.now()
        await b.sync.now()
        change = await told
        assert (change.key, change.origin) == ("k", Origin.REMOTE)
        while theirs.theme != "dark":  # a field of a file store may be kept a moment later
            await asyncio.sleep(0.02)
            await a.sync.now()
            await b.sync.now()


async def test_data_on_both_sides_of_a_first_meeting(meet, tmp_path):
    """What was there before is sent as well, and the later of two values stays."""
    for name in ("a", "b"):
        async with open_persistence(tmp_path / f"{name}.db") as before:
            await before.save_many({f"only {name}": name, "both": name})
        await asyncio.sleep(0.005)
    alone = {"metered": None, "every": 3600}
    async with meet("a", **alone) as a, meet("b", **alone) as b:
        for device in (a, b, a, b, a, b):
            await device.sync._turn()
            await device.sync.now()
        expected = {"both", "only a", "only b"}
        if a.location.endswith(".db"):
            assert {key async for key in a.keys("")} == {key async for key in b.keys("")} == expected
            assert await a.load("both", str) == await b.load("both", str) == "b"


async def test_offline_ten_thousand_changes_of_few_keys_are_few_states(tmp_path):
    """Marks are the queue: as long as the number of keys, however often they were changed."""
    where = tmp_path / "a.db"
    async with open_persistence(where, sync=Sync(tmp_path / "remote.db", every=3600)) as a:
        await a.sync.pause()
        for number in range(2_000):
            await a.save(f"k/{number % 40}", {"n": number}, durability="process_exit")
        status = await a.sync.now()
        assert status.sent == 40
        commits = a.sync._adapter.stats()["commits"]
        assert (await a.sync.now()).sent == 40
        assert a.sync._adapter.stats()["commits"] == commits


async def test_a_remote_that_cannot_be_reached(tmp_path):
    """The store goes on; status says why; now raises."""
    (tmp_path / "wall").write_text("no directory")
    async with open_persistence(tmp_path / "a.db", sync=Sync(f"sqlite:{tmp_path}/wall/remote.db")) as a:
        await a.save("k", 1)
        with pytest.raises(StorageError):
            await a.sync.now()
        assert a.sync.status.state == "offline"
        assert a.sync.status.why
        assert await a.load("k", int) == 1


async def test_what_is_refused(tmp_path):
    """A store in place of a remote, a confidential store with a plain one, options of other kinds."""
    async with open_persistence(tmp_path / "store.db") as store:
        await store.save("k", 1)
    async with open_persistence(tmp_path / "a.db", sync=Sync(tmp_path / "store.db", every=3600)) as a:
        with pytest.raises(ForeignStoreError, match="a store of its own"):
            await a.sync.now()
    with pytest.raises(InsecureStorageError, match="one key"):
        open_persistence(tmp_path / "e.db", keys=StaticKey(bytes(32)), sync=Sync(tmp_path / "r.db"))
    with pytest.raises(ConfigurationError, match="several processes"):
        open_persistence(tmp_path / "a.db", sync=Sync(MemoryAdapter()))
    with pytest.raises(ConfigurationError, match="sync is a Sync"):
        open_persistence(tmp_path / "a.db", sync="sqlite:remote.db")
    with pytest.raises(ConfigurationError, match="list of patterns"):
        Sync("remote.db", keys="note/*")
    with pytest.raises(ConfigurationError, match="more than 0"):
        Sync("remote.db", every=0)
    async with open_persistence(tmp_path / "b.db") as plain:
        with pytest.raises(ConfigurationError, match="not synchronised"):
            plain.sync  # noqa: B018 - it raises


async def test_an_encrypted_remote_shows_nothing(tmp_path):
    """With a shared key nothing of a value is in the remote's bytes, and both devices read it."""
    key = StaticKey(b"k" * 32)
    options = {"remote_keys": key, "every": 3600}
    async with (
        open_persistence(tmp_path / "a.db", keys=key, sync=Sync(tmp_path / "r.db", **options)) as a,
        open_persistence(tmp_path / "b.db", keys=key, sync=Sync(tmp_path / "r.db", **options)) as b,
    ):
        await a.save("k", {"secret": "a-marker-nobody-may-see"})
        await a.sync.now()
        await b.sync.now()
        assert await b.load("k", dict) == {"secret": "a-marker-nobody-may-see"}
    for path in tmp_path.iterdir():
        assert b"a-marker-nobody-may-see" not in path.read_bytes()


async def test_only_the_keys_that_are_named(meet):
    """Other keys stay on their device, in both directions."""
    async with meet("a", keys=["shared/*"]) as a, meet("b") as b:
        await a.save_many({"shared/1": 1, "own": 1})
        await b.save("of b", 1)
        for device in (a, b, a):
            await device.sync.now()
        assert {key async for key in a.keys("")} == {"shared/1", "own"}
        assert {key async for key in b.keys("")} == {"shared/1", "of b"}


async def test_what_is_restored_goes_to_the_others(meet):
    """A snapshot put back is a change of now: what was sent since is not taken for the newer."""
    async with meet("a") as a, meet("b") as b:
        await a.save_many({"k": 1, "gone": 1})
        snapshot = await a.snapshot()
        await a.sync.now()
        await a.save("k", 2)
        await a.delete("gone")
        await a.sync.now()
        await b.sync.now()
        await a.restore(snapshot)
        await a.sync.now()
        await b.sync.now()
        assert await b.load_many(["k", "gone"], int) == {"k": 1, "gone": 1}
        assert await a.load_many(["k", "gone"], int) == {"k": 1, "gone": 1}


async def test_what_is_about_somebody(meet):
    """Other devices know whom it is about: what they export and erase has it."""
    async with meet("a") as a, meet("b") as b:
        await a.save("k", {"name": "Anna"}, subject="anna")
        await a.save("other", 2)
        for device in (a, b):
            assert (await device.sync.now()).faults == ()
        assert await b.load_many(["k", "other"], Any) == {"k": {"name": "Anna"}, "other": 2}
        archive = io.BytesIO()
        assert (await b.export_to(archive, subject="anna")).records == 1
        await b.update("k", dict, lambda value: {**value, "age": 7})
        for device in (b, a):
            await device.sync.now()
        assert (await a.erase(subject="anna", dry_run=True)).keys == ["k"]


async def test_what_is_taken_back_is_about_whom_it_was(meet):
    """So that it is erased with all else of the same person."""
    async with meet("a") as a, meet("b") as b:
        await a.save("k", {"name": "Anna"}, subject="anna")
        await a.sync.now()
        await b.sync.now()
        await a.save("k", {"name": "Ann"}, subject="anna")
        await b.save("k", {"name": "Annie"}, subject="anna")
        for device in (b, a, b):
            await device.sync.now()
        (conflict,) = [one for device in (a, b) for one in await device.sync.conflicts()]
        assert await b.sync.take_back(conflict)
        assert (await b.load("k", dict))["name"] == conflict.lost
        assert (await b.erase(subject="anna")).records == 1
        assert not await b.exists("k")


async def test_what_is_erased_is_erased_everywhere(tmp_path):
    """Erased on one device, no byte of it is left in the files of the other and of the remote."""
    remote = Sync(tmp_path / "remote.db", metered=lambda: True)
    marker = "a-marker-of-somebody"
    async with (
        open_persistence(tmp_path / "a.db", sync=remote) as a,
        open_persistence(tmp_path / "b.db", sync=remote) as b,
    ):
        await a.save("k", {"name": f"{marker}-1"}, subject="anna")
        await a.sync.now()
        await b.sync.now()
        await a.save("k", {"name": f"{marker}-2"}, subject="anna")
        await a.sync.now()
        await b.sync.now()
        assert (await b.erase(subject="anna")).records == 1
        for device in (b, a):
            await device.sync.now()
        assert not await a.exists("k")
        assert not await b.exists("k")
        for adapter in (a.adapter, b.adapter, a.sync._adapter):
            for name in ("k", SHADOW + "k"):
                stored, before = (await adapter.fetch((name,))).get(name), await adapter.previous(name)
                assert marker.encode() not in (stored.data if stored else b"")
                assert before is None
        await a.save("k", {"name": "new"}, subject="anna")
        await a.sync.now()
        await b.sync.now()
        assert await b.load("k", dict) == {"name": "new"}


async def test_what_was_saved_without_it_is_found(tmp_path):
    """A program that does not synchronise leaves no marks; the next opening that does looks for them."""
    remote = Sync(tmp_path / "remote.db", every=3600)
    async with open_persistence(tmp_path / "a.db", sync=remote) as a:
        await a.save_many({"kept": 1, "changed": 1, "deleted": 1})
        await a.sync.now()
    async with open_persistence(tmp_path / "a.db") as plain:
        await plain.save_many({"changed": 2, "new": 2})
        await plain.delete("deleted")
    async with (
        open_persistence(tmp_path / "a.db", sync=remote) as a,
        open_persistence(tmp_path / "b.db", sync=remote) as b,
    ):
        while await b.load_many(["kept", "changed", "deleted", "new"], int) != {
            "kept": 1,
            "changed": 2,
            "new": 2,
        }:
            await asyncio.sleep(0.05)
            await b.sync.now()
        assert await a.load("changed", int) == 2


async def test_a_resolver_is_asked_where_the_other_has_deleted(meet):
    """A change here, and a later one there that was deleted: what stays is what the resolver says."""
    resolve = {"*": lambda clash: clash.ours}
    async with meet("a", resolve=resolve) as a, meet("b", resolve=resolve) as b:
        await a.save("k", "ours")
        await asyncio.sleep(0.005)
        await b.save("k", "theirs")
        await b.sync.now()
        await b.delete("k")
        await b.sync.now()
        for device in (a, b):
            await device.sync.now()
        assert await a.load("k", str) == await b.load("k", str) == "ours"


async def test_devices_are_known_and_forgotten(meet):
    """Also one that only takes over; who is forgotten comes back when it meets the others again."""
    async with meet("a") as a, meet("b") as b:
        await a.save("k", 1)
        await a.sync.now()
        await b.sync.now()
        first, second = await a.sync.devices()
        assert first.last_met >= second.last_met
        assert {first.id, second.id} == {a.sync._device.name, b.sync._device.name}
        assert await a.sync.forget(b.sync._device.name)
        assert not await a.sync.forget(b.sync._device.name)
        assert [one.id for one in await b.sync.devices()] == [a.sync._device.name]
        await b.save("k", 2)
        await b.sync.now()
        assert len(await a.sync.devices()) == 2


async def test_a_pause_holds_until_somebody_resumes(meet):
    """After a restart as well; now() meets all the same."""
    async with meet("a", every=0.1, metered=None) as a:
        await a.sync.pause()
        await a.save("k", 1)
    async with meet("a", every=0.1, metered=None) as a:
        assert a.sync.status.state == "paused"
        await asyncio.sleep(0.5)
        assert a.sync.status.sent == 0
        assert (await a.sync.now()).sent == 1
        assert a.sync.status.state == "paused"
        await a.save("k", 2)
        await a.sync.resume()
        while a.sync.status.sent < 2:
            await asyncio.sleep(0.02)


async def test_a_resolver_that_raises_holds_up_its_own_key_only(meet):
    """The status says which, and by what; its values stay as they are until the resolver is mended."""

    def careless(clash):
        return clash.ours + clash.theirs["a-secret"]

    async with meet("a") as a, meet("b", resolve={"k": careless}) as b:
        await a.save("k", 1)
        await a.sync.now()
        await b.save_many({"k": 2, "other": 3})
        status = await b.sync.now()
        assert status.state == "stuck"
        assert status.faults == (("k", "its resolver raised TypeError"),)
        await a.sync.now()
        assert (await a.load("other", int), await a.load("k", int), await b.load("k", int)) == (3, 1, 2)
    async with meet("b") as b:
        assert (await b.sync.now()).state == "idle"
        assert await b.load("k", int) == 2
