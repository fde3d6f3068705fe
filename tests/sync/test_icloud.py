"""Devices that meet in Apple's key-value store, over the simulator of it."""

import asyncio
import random

import msgspec
import pytest

from axiom_persistence import Sync, open_persistence
from axiom_persistence.adapters.icloud import ICloudKeyValueAdapter
from axiom_persistence.errors import ConfigurationError, ForeignStoreError, StorageUnavailableError
from axiom_persistence.records.record import seal_record
from axiom_persistence.security import StaticKey
from axiom_persistence.sync import _cycle as cycle
from axiom_persistence.sync import _listing as listing
from axiom_persistence.sync import _pack as pack
from axiom_persistence.sync import _packed as packed
from axiom_persistence.sync import keep_local
from axiom_persistence.sync._deleted import forget_deleted
from axiom_persistence.testing import ICloudSimulator

from . import instant
from .icloud_simulation import CloudWorld, ViolationError, cloud_schedule
from .planted import planted
from .simulation import Medium


class Family:
    """Devices with SQLite stores that meet in one simulated iCloud, only when they are told to."""

    def __init__(self, directory, **options):
        self.directory, self.cloud, self.devices, self.stores = directory, ICloudSimulator(**options), {}, {}

    async def add(self, name, *, patience=0, **options):
        """A new device, or one whose program starts again."""
        if name not in self.devices:
            self.devices[name] = self.cloud.device(**options)
        adapter = ICloudKeyValueAdapter(self.devices[name], patience=patience)
        sync = Sync(adapter, metered=lambda: True)
        self.stores[name] = await open_persistence(self.directory / f"{name}.db", sync=sync)
        return self.stores[name]

    async def meet(self, *names, rounds=1):
        """Each meets, and everything arrives."""
        for _ in range(rounds):
            for name in names or self.stores:
                await self.stores[name].sync.now()
                self.cloud.deliver()

    async def all_have(self, key, value):
        assert [await store.load(key, type(value)) for store in self.stores.values()] == [value] * len(
            self.stores
        )


@pytest.fixture
async def family(tmp_path):
    made = Family(tmp_path)
    yield made
    for store in made.stores.values():
        await store.aclose()


async def conflicts_of(*stores):
    return {(one.key, one.field, one.lost) for store in stores for one in await store.sync.conflicts()}


async def test_what_one_saves_the_others_have(family):
    """Values of all shapes and deletions, in all directions; no conflict where each knew of the other."""
    mac, phone, pad = [await family.add(name) for name in ("mac", "phone", "pad")]
    values = {"object": {"x": 1, "y": [1, None]}, "text": "é", "long/" + "k" * 200: 1}
    await mac.save_many(values)
    await family.meet(rounds=2)
    for key, value in values.items():
        await family.all_have(key, value)
    for number, store in enumerate((phone, pad, mac, pad)):
        await store.save("object", {"x": number, "y": [1, None]})
        await store.delete("text")
        await family.meet(rounds=2)
        await family.all_have("object", {"x": number, "y": [1, None]})
    assert not await phone.exists("text")
    assert await conflicts_of(mac, phone, pad) == set()
    assert {device.id for device in await mac.sync.devices()} == {
        s.sync._device.name for s in (mac, phone, pad)
    }


async def test_changes_that_did_not_know_of_each_other(family):
    """Fields are joined; of one field the later stays and the other is listed, however late they arrive."""
    mac, phone = await family.add("mac"), await family.add("phone")
    await mac.save("p", {"name": "x", "size": 1})
    await family.meet(rounds=2)
    await mac.save("p", {"name": "of the mac", "size": 1})
    await mac.sync.now()  # sent, and nothing has arrived
    await asyncio.sleep(0.01)
    await phone.save("p", {"name": "of the phone", "size": 2})
    await phone.sync.now()
    family.cloud.deliver()
    await family.meet(rounds=2)
    await family.all_have("p", {"name": "of the phone", "size": 2})
    assert await conflicts_of(mac) | await conflicts_of(phone) == {("p", "name", "of the mac")}
    status = mac.sync.status.conflicts
    await family.meet(rounds=2)
    assert mac.sync.status.conflicts == status  # it is told once
    conflict = (await conflicts_of(mac) and await mac.sync.conflicts())[0]
    await mac.sync.take_back(conflict)
    await family.meet(rounds=2)
    await family.all_have("p", {"name": "of the mac", "size": 2})


async def test_a_thousand_settings(family):
    """1,000 of 500 bytes fit, when two devices have changed half of them each, and 1,000 small ones more."""
    mac, phone = await family.add("mac"), await family.add("phone")
    dice = random.Random(1)
    values = {f"setting/{n:04}": f"{dice.randbytes(250).hex()}" for n in range(1000)}
    await mac.save_many(values)
    await family.meet(rounds=2)
    await phone.save_many({key: values[key][::-1] for key in list(values)[:500]})
    await family.meet(rounds=2)
    found = await mac.load_many(list(values), str)
    assert found == {key: value[::-1] if key < "setting/0500" else value for key, value in values.items()}
    await mac.save_many({f"small/{n}": n for n in range(1000)})
    await family.meet(rounds=2)
    assert len([key async for key in phone.keys("small/")]) == 1000
    sizes = {name: len(value) for name, value in family.cloud.accounts["anna"].items()}
    assert sum(sizes.values()) < 1 << 20
    assert len(sizes) <= 2 * 33
    assert not mac.sync.status.faults + phone.sync.status.faults


async def test_what_does_not_fit_is_told_and_the_rest_goes_on(family):
    """Nothing is written past the quota; the status names what takes the room; others' changes arrive."""
    mac, phone = await family.add("mac"), await family.add("phone")
    dice = random.Random(1)
    await mac.save_many({f"photo/{n}": dice.randbytes(50_000).hex() for n in range(16)})
    await family.meet(rounds=2)
    mine = mac.sync._device.name
    before = {name: value for name, value in family.devices["mac"].values.items() if mine in name}
    await mac.save("movie", dice.randbytes(250_000).hex())
    await phone.save("small", 1)
    await phone.sync.now()
    family.cloud.deliver()
    status = await mac.sync.now()
    assert status.state == "stuck"
    assert "there is no room for what is to be sent" in dict(status.faults)["movie"]
    assert "'photo/*' (" in dict(status.faults)["movie"]
    assert await mac.load("small", int) == 1
    assert {name: family.devices["mac"].values[name] for name in before} == before
    assert not family.devices["mac"].told()
    for number in range(8):
        await phone.delete(f"photo/{number}")
    await phone.sync.now()
    family.cloud.deliver()
    await family.meet(rounds=2)
    assert (await mac.sync.now()).state == "idle"
    assert await phone.exists("movie")


async def test_refused_by_icloud_itself(family):
    """Two devices fill it at once, each below the quota: the one whose values are refused says so."""
    mac, phone = await family.add("mac"), await family.add("phone")
    dice = random.Random(1)
    for store in (mac, phone):
        await store.save_many({f"{id(store)}/{n}": dice.randbytes(50_000).hex() for n in range(12)})
        await store.sync.now()
    family.cloud.deliver()
    states = {store: (await store.sync.now()).state for store in (mac, phone)}
    assert "stuck" in states.values()
    told = "".join(why for store in (mac, phone) for _, why in store.sync.status.faults)
    assert "iCloud has refused what is too much" in told or "there is no room" in told
    for number in range(12):
        await phone.delete(f"{id(phone)}/{number}")
    await family.meet(rounds=4)
    assert [store.sync.status.faults for store in (mac, phone)] == [(), ()]
    await family.all_have(f"{id(mac)}/1", await mac.load(f"{id(mac)}/1", str))


async def test_another_account_stops_and_asks(family):
    """Nothing is sent to it and nothing taken over, also after a restart, until somebody says so."""
    mac, phone = await family.add("mac"), await family.add("phone")
    await mac.save("diary", "of anna")
    await family.meet(rounds=2)
    family.cloud.sign_in(family.devices["phone"], "bertha")
    await phone.save("k", 1)
    with pytest.raises(ForeignStoreError, match="another account is signed in"):
        await phone.sync.now()
    assert phone.sync.status.state == "stuck"
    await phone.aclose()
    phone = await family.add("phone")
    with pytest.raises(ForeignStoreError, match="resume"):
        await phone.sync.now()
    family.cloud.deliver()
    assert family.cloud.accounts["bertha"] == {}
    family.cloud.sign_in(family.devices["phone"], "anna")
    await family.meet(rounds=2)
    await family.all_have("k", 1)
    family.cloud.sign_in(family.devices["phone"], "bertha")
    await phone.sync.resume()
    await phone.sync.now()
    family.cloud.deliver()
    assert family.cloud.accounts["bertha"]
    pad = await family.add("pad", account="bertha")
    await pad.sync.now()
    assert await pad.load("diary", str) == "of anna"


async def test_the_first_download_is_waited_for(family):
    """A new device is offline until it has come, and sends nothing."""
    mac = await family.add("mac")
    await mac.save("k", {"f": 1})
    await family.meet()
    phone = await family.add("phone", patience=3600, downloaded=False)
    await phone.save("k", {"g": 2})
    with pytest.raises(StorageUnavailableError, match="has not been downloaded"):
        await phone.sync.now()
    assert phone.sync.status.state == "offline"
    assert not family.devices["phone"].values
    family.cloud.deliver()
    await family.meet(rounds=2)
    await family.all_have("k", {"f": 1, "g": 2})


async def test_what_apple_loses_is_sent_again(family):
    """A write that never left the machine, a copy of iCloud that is gone, packs that somebody deleted."""
    mac, _ = await family.add("mac"), await family.add("phone")
    await mac.save("k", 1)
    await family.meet(rounds=2)
    await mac.save("k", 2)
    await mac.sync.now()
    device = family.devices["mac"]
    for name in list(device.outbox):  # the power failed before Apple wrote it to the disk
        device.values.pop(name)
        if name in family.cloud.accounts["anna"]:
            device.values[name] = family.cloud.accounts["anna"][name]
    device.outbox.clear()
    await family.meet(rounds=2)
    await family.all_have("k", 2)
    for name in list(family.devices["phone"].values):
        if "pack" in name and "00/" not in name:
            family.devices["phone"].set(name, None)
    family.cloud.deliver()
    await family.meet(rounds=2)
    newcomer = await family.add("pad")
    await newcomer.sync.now()
    assert await newcomer.load("k", int) == 2


async def test_a_device_that_is_forgotten_leaves_what_it_said(family):
    """Its packs make room, and nothing of them is lost."""
    mac, phone = await family.add("mac"), await family.add("phone")
    await phone.save_many({f"k/{n}": n for n in range(100)})
    await family.meet(rounds=2)
    gone = phone.sync._device.name
    await phone.aclose()
    del family.stores["phone"]
    assert await mac.sync.forget(gone)
    assert not await mac.sync.forget(gone)
    family.cloud.deliver()
    assert not [name for name in family.cloud.accounts["anna"] if gone in name]
    pad = await family.add("pad")
    await pad.sync.now()
    assert len([key async for key in pad.keys("k/")]) == 100


async def test_deleted_and_erased_values_leave_icloud(family):
    """After all have met, no pack of any device has an earlier value of what was about somebody."""
    mac, phone = await family.add("mac"), await family.add("phone")
    await mac.save("k", {"name": "a-marker-nobody-may-see"}, subject="anna")
    await family.meet(rounds=2)
    await phone.erase(subject="anna")
    await family.meet(rounds=3)
    async with ICloudKeyValueAdapter(family.devices["mac"]) as adapter:
        keys = [key async for key in adapter.keys("")]
        records = await adapter.fetch(keys)
        remote = mac.sync._remote
        plain = [remote._opened(key, stored) for key, stored in records.items()]
    assert not any(b"a-marker" in one for one in plain)


async def test_three_change_the_same_at_once(family):
    """One stays, and each of the two others is listed; a deletion that had not seen an edit loses to it."""
    stores = [await family.add(name) for name in ("mac", "phone", "pad")]
    for number, store in enumerate(stores):
        await store.save("k", {"f": number})
        await asyncio.sleep(0.003)
    for store in stores:
        await store.sync.now()  # nobody has heard of the others
    family.cloud.deliver()
    await family.meet(rounds=3)
    await family.all_have("k", {"f": 2})
    assert {lost for _, _, lost in await conflicts_of(*stores)} == {0, 1}
    await stores[0].delete("k")
    await stores[1].save("k", {"f": 2, "g": 1})
    for store in stores:
        await store.sync.now()
    for _ in range(4):
        family.cloud.step()
        await stores[2].sync.now()  # which sees them key by key, in any order
    await family.meet(rounds=3)
    await family.all_have("k", {"f": 2, "g": 1})


async def test_programs_that_start_anew_each_time(family):
    """What is remembered of iCloud in memory is remembered for speed: nothing is listed that was known."""
    for name in ("mac", "phone"):
        await family.add(name)
    for number in range(6):
        name = ("mac", "phone")[number % 2]
        await family.stores[name].save("k", {"f": number, "g": number // 2})
        for each in (name, "mac", "phone"):
            await family.stores[each].aclose()
            await family.add(each)
            await family.meet(each)
    await family.all_have("k", {"f": 5, "g": 2})
    assert await conflicts_of(*family.stores.values()) == set()


async def test_two_processes_of_one_device_and_a_clock_that_is_wrong(family):
    """They write the same packs, and lose nothing; what was written knowing a value of 2106 follows it."""
    mac, phone = await family.add("mac"), await family.add("phone")
    again = ICloudKeyValueAdapter(family.devices["mac"], patience=0)
    second = Sync(again, metered=lambda: True)
    async with open_persistence(family.directory / "mac.db", sync=second) as other:
        for number in range(6):
            await mac.save(f"x/{number}", number)
            await other.save(f"y/{number}", number)
            await phone.save("both", number)
            # One process of a device meets at a time, whichever it is.
            await asyncio.gather((mac, other)[number % 2].sync.now(), phone.sync.now())
            family.cloud.step()
        await other.sync.now()
    await family.meet(rounds=2)
    assert len([key async for key in phone.keys("")]) == 13
    mac.sync._device.clock._now = lambda: 80 * 365 * 86400.0 + 1.7e9
    await mac.save("both", 100)
    await family.meet(rounds=2)
    await phone.save("both", 101)
    await family.meet(rounds=2)
    await family.all_have("both", 101)
    assert await conflicts_of(mac, phone) == set()


async def test_icloud_is_full_of_the_applications_own_keys(family):
    """No pack is written, and the status says who has them."""
    mac = await family.add("mac")
    family.devices["mac"].values.update({f"own {number}": b"x" for number in range(1010)})
    await mac.save_many({f"k{number}": number for number in range(200)})
    status = await mac.sync.now()
    assert status.state == "stuck"
    assert "most is taken by the application itself (1,010 bytes in 1,010 keys)" in status.why
    assert len(family.devices["mac"].values) == 1010


async def test_what_is_refused(tmp_path):
    """Resolvers and encryption need one device at a time."""
    remote = ICloudKeyValueAdapter(ICloudSimulator().device())
    with pytest.raises(ConfigurationError, match="resolve= needs"):
        open_persistence(tmp_path / "a.db", sync=Sync(remote, resolve={"*": keep_local}))
    with pytest.raises(ConfigurationError, match="remote_keys= needs"):
        open_persistence(tmp_path / "a.db", sync=Sync(remote, remote_keys=StaticKey(bytes(32))))


async def test_a_damaged_pack_is_told_and_written_again(family):
    """Its device says anew what it had said."""
    mac, phone = await family.add("mac"), await family.add("phone")
    await mac.save("k", 1)
    await family.meet(rounds=2)
    where = packed._name(pack.bucket_of("k"), mac.sync._device.name)
    name = "axiom/" + where.replace("\x01", "%01")
    assert name in family.devices["phone"].values
    family.devices["phone"].set(name, b"rubbish")
    family.cloud.deliver()
    status = await phone.sync.now()
    assert status.state == "stuck"
    assert "cannot be read" in status.why
    await family.meet(rounds=2)
    assert (await phone.sync.now()).state == "idle"
    pad = await family.add("pad")
    await pad.sync.now()
    assert await pad.load("k", int) == 1


# -- schedules -------------------------------------------------------------------------------------


async def at_once(attempt):
    await asyncio.sleep(0)


@pytest.fixture
def no_waiting(monkeypatch):
    for module in (cycle, listing):
        monkeypatch.setattr(module, "backoff", at_once)


@pytest.mark.parametrize("devices", [2, 3])
def test_nothing_is_lost_and_all_are_equal(no_waiting, devices, record_property):
    """Late, reordered, held back, lost with the power, another account, a copy downloaded anew, kills."""
    limited = 0
    for seed in range(15):
        keep = None if seed % 3 else 5000.0
        try:
            world = instant.run(cloud_schedule(seed, devices=devices, steps=60, keep_deleted=keep))
        except ViolationError as violation:
            raise AssertionError(f"schedule {seed}: {violation}") from None
        limited += world.known_limit > 0
    record_property("told", f"iCloud: 15 schedules of {devices} devices, the known limit in {limited}")


def _overwriting_taken_for_acknowledgement(patch):
    """What was sent once is taken for arrived."""
    since = packed.PackedRemote.since

    async def careless(self, cursor, head):
        keys = await since(self, cursor, head)
        view = await self._view()
        return None if keys is None else [key for key in keys if view.others(key)]

    patch(packed.PackedRemote, "since", careless)
    patch(listing, "_made", _taken_over_only)


async def _taken_over_only(device, local, seen, at):
    if local.mark is not None:
        return {}
    theirs = seen.states.get(local.key)
    return {} if theirs is None else device.applied(local, device.joined(local, theirs, at), "?")


def _one_pack_for_all_devices(patch):
    patch(packed, "_name", lambda bucket, device: f"{packed._PACK}{bucket:02x}/{'0' * 8}")


def _whoever_is_later_knew(patch):
    patch(pack.View, "_knew", lambda *_: True)
    patch(pack.View, "_may_know", lambda *_: True)


def _read_is_said_before_it_is_joined(patch):
    patch(pack.View, "numbers", lambda self, _: dict.fromkeys({name for _, name in self.packs}, 1 << 62))


def _another_account_is_not_noticed(patch):
    patch(packed.PackedRemote, "_is_elsewhere", lambda self, cursor: False)


def _deletions_are_forgotten_where_others_show_the_key(patch):
    said = packed.PackedRemote._said

    def careless(self, now, key, state, number):
        return None if state is None else said(self, now, key, state, number)

    patch(packed.PackedRemote, "_said", careless)


def _everybody_leaves_it_to_the_others(patch):
    said = packed.PackedRemote._said

    def careless(self, now, key, state, number):
        same = [part for part in now.others(key).values() if part.state == state]
        return None if same else said(self, now, key, state, number)

    patch(packed.PackedRemote, "_said", careless)


PLANTED = {
    name.strip("_").replace("_", " "): function
    for name, function in sorted(globals().items())
    if name[0] == "_" and name[1:2].islower() and callable(function) and name != "_taken_over_only"
}


CAUGHT_BY = {
    "another account is not noticed": 14,
    "overwriting taken for acknowledgement": 172,
    "read is said before it is joined": 113,
}
"""A schedule that shows it: the first to be tried."""
DIRECTED = {"everybody leaves it to the others", "deletions are forgotten where others show the key"}
"""What heals itself in a random schedule, or hardly ever happens there."""


@pytest.mark.parametrize("name", sorted(PLANTED.keys() - DIRECTED))
def test_a_planted_bug_is_caught(no_waiting, name, record_property):
    """Each rule is needed: without it some schedule ends wrong."""
    with planted(name, PLANTED):
        for seed in (CAUGHT_BY.get(name, 0), *range(300)):
            try:
                instant.run(cloud_schedule(seed, steps=60, keep_deleted=None if seed % 3 else 5000.0))
            except ViolationError as caught:
                record_property("told", f"iCloud: {name} is caught by schedule {seed}: {caught}")
                return
    pytest.fail(f"{name} was not caught")


async def sent_in_step(family):
    """How many bytes two devices send that say the same at once, when there is nothing to say any more."""
    mac, phone = await family.add("mac"), await family.add("phone")
    await mac.save("k", {"f": 1})
    await phone.save("k", {"g": 2})
    sent = 0
    for number in range(8):
        before = mac.sync.status.bytes_sent + phone.sync.status.bytes_sent
        await mac.sync.now()
        await phone.sync.now()
        family.cloud.deliver()
        sent = mac.sync.status.bytes_sent + phone.sync.status.bytes_sent - before if number > 4 else 0
    return sent


async def test_who_says_the_same_comes_to_rest(family):
    """Of several devices that say the same one goes on, so that a cycle with nothing to do sends nothing."""
    assert await sent_in_step(family) == 0


async def test_everybody_leaving_it_to_the_others_is_caught(family):
    """Each would find that the other says it, and then that nobody does, again and again."""
    with planted("everybody leaves it to the others", PLANTED):
        assert await sent_in_step(family) > 0


async def shown_after_it_was_forgotten():
    """A key is deleted by one device, and the other, which says it, is away for longer than that is kept."""
    world = CloudWorld(1, devices=2, chances={}, keep_deleted=1000.0)
    first, second = world.processes
    world.cloud.deliver()
    for process, value in ((first, {"f": "x"}), (second, None)):
        data = None if value is None else seal_record("a", msgspec.json.encode(value), "1.0")
        process.store.adapter.commit_now({"a": data})
        world.now += 1
        for one in (first, second) if value else (second,):
            await world.alone(one, lambda _, one=one: world.meet(one))
            world.cloud.deliver()
    world.now += 1200.0
    for step in (lambda device: forget_deleted(device, ""), lambda _: world.meet(second)):
        await world.alone(second, step)
        world.cloud.deliver()
    newcomer = world.add_device(Medium())
    world.cloud.deliver()
    await world.alone(newcomer, lambda _: world.meet(newcomer))
    return [world.value(one.medium, "a") for one in (second, newcomer)]


async def test_a_deletion_is_said_as_long_as_others_show_the_key(no_waiting):
    """Else it would come back from a device that was sold."""
    assert await shown_after_it_was_forgotten() == [None, None]


async def test_forgetting_it_earlier_is_caught(no_waiting):
    """The key comes back."""
    with planted("deletions are forgotten where others show the key", PLANTED):
        assert await shown_after_it_was_forgotten() != [None, None]


async def test_nothing_is_left_after_many_meetings(family):
    """An account that was emptied is met like a new one, however much was there before."""
    mac = await family.add("mac")
    for number in range(12):
        await mac.save("k", number)
        await family.meet()
    family.cloud.sign_in(family.devices["mac"], None)
    await mac.sync.resume()
    await family.meet()
    assert (await mac.sync.now()).state == "idle"
