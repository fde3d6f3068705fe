"""Apple's key-value store, over a simulator of it: its limits, and what it does to values on their way."""

import base64
import os
import random
import sys
import types

import pytest

from axiom_persistence import adapter_for, open_persistence
from axiom_persistence.adapters.icloud import ICloudKeyValueAdapter
from axiom_persistence.errors import (
    AccessDeniedError,
    CapabilityUnavailableError,
    ConfigurationError,
    InvalidKeyError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
)
from axiom_persistence.platform._mac_ubiquitous import MacUbiquitous
from axiom_persistence.platform.ubiquitous import Reason
from axiom_persistence.testing import AdapterSuite, ICloudSimulator
from axiom_persistence.testing.machine import check_against_dict
from support.embedded import listed

PLACES = {}


def at(place):
    """The adapter of a device that is always the same for a place."""
    device = PLACES.setdefault(place, ICloudSimulator().device())
    return ICloudKeyValueAdapter(device, patience=0)


class TestICloud(AdapterSuite):
    many, questions = 900, 300

    def adapter(self, place):
        return at(place)

    def test_it_agrees_with_a_dict(self):
        """Fewer examples: all of the store is looked at for each commit."""
        check_against_dict(self.adapter, examples=8)


def noise(number, size=500):
    """Text that hardly gets shorter."""
    return base64.b85encode(random.Random(number).randbytes(size)).decode()[:size]


async def test_a_thousand_settings_fit_and_no_more():
    """1,000 settings of 500 bytes; the next key is refused, naming what takes the room."""
    device = ICloudSimulator().device()
    async with open_persistence(ICloudKeyValueAdapter(device, patience=0)) as store:
        for number in range(1000):
            await store.save(f"setting/{number:04}", noise(number))
        before = dict(device.values)
        with pytest.raises(StorageFullError, match="that would be 1,001 keys") as refusal:
            await store.save("one more", "x")
        assert "'setting/*' (" in str(refusal.value)
        assert "in 1,000 keys" in str(refusal.value)
        assert device.values == before
        await store.delete("setting/0000")
        await store.save("one more", "x")
    assert not device.told()


async def test_the_byte_past_the_quota_is_refused():
    """What the application keeps there itself counts, and is named, too; deleting is always possible."""
    device = ICloudSimulator().device()
    device.set("their own", b"x" * ((1 << 20) - 1000))
    async with ICloudKeyValueAdapter(device) as adapter:
        await adapter.commit({"a": noise(1, 999).encode()[:127]})
        room = (1 << 20) - sum(map(len, device.values.values()))
        with pytest.raises(StorageFullError) as refusal:
            await adapter.commit({"a": None, "b": b"1", "c": b"2" * 100, "d": noise(3, 2000).encode()})
        assert "and 1,048,576 fit; most is taken by the application itself (1,047,576 bytes" in str(
            refusal.value
        )
        assert await listed(adapter) == ["a"]
        exact = os.urandom(room - 1)
        with pytest.raises(StorageFullError):
            await adapter.commit({"e": exact + b"."})
        await adapter.commit({"e": exact})
        assert sum(map(len, device.values.values())) == 1 << 20
        assert not device.told()
        await adapter.commit({"e": None})
        assert "their own" in device.values
        assert await listed(adapter) == ["a"]


async def test_names_are_as_short_as_apple_takes_them():
    """Long keys, odd characters and other alphabets: at most 64 bytes of plain ASCII, and back."""
    device = ICloudSimulator().device()
    keys = ["x" * 1000, "ä" * 40, "tab\there", "100%", "axiom/", "\x01store", "é/../CON", "😀" * 12, "a" * 58]
    async with ICloudKeyValueAdapter(device, patience=0) as adapter:
        await adapter.commit({key: key.encode() for key in keys})
        assert await listed(adapter) == sorted(keys)
        found = await adapter.fetch(keys)
        assert {key: found[key].data for key in keys} == {key: key.encode() for key in keys}
    assert all(len(name) <= 64 and name.isascii() and name.isprintable() for name in device.values)


async def test_nothing_is_written_before_the_first_download():
    """Until it has come, or was waited for long enough: else it would overwrite what was written."""
    cloud = ICloudSimulator()
    async with ICloudKeyValueAdapter(cloud.device(), patience=0) as mac:
        await mac.commit({"k": b"there"})
    cloud.deliver()
    new = cloud.device(downloaded=False)
    async with ICloudKeyValueAdapter(new) as phone:
        for use in (phone.commit({"k": b"here"}), phone.fetch(["k"]), listed(phone)):
            with pytest.raises(StorageUnavailableError, match="has not been downloaded yet"):
                await use
        assert not new.values
        cloud.deliver()
        assert await phone.read("k") == b"there"
        await phone.commit({"k": b"here"})
        assert phone.stats()["initial_changes"] == 1
    async with ICloudKeyValueAdapter(cloud.device(account="new"), patience=0) as empty:
        assert await listed(empty) == []


async def test_what_the_system_tells():
    """Quota and account changes are counted; what iCloud has refused is told by check until there is room."""
    cloud = ICloudSimulator()
    mac, phone = cloud.device(), cloud.device()
    async with ICloudKeyValueAdapter(mac, patience=0) as one, ICloudKeyValueAdapter(phone, patience=0) as two:
        await one.commit({"mac": os.urandom(600_000)})
        await two.commit({"phone": os.urandom(600_000)})
        cloud.deliver()
        assert sorted(len(a) for a in cloud.accounts.values()) == [1]
        refused = one if await one.check() else two
        (fault,) = await refused.check()
        assert fault.startswith("iCloud has refused what is too much: ")
        assert refused.stats()["quota_changes"] >= 1
        await refused.commit({"mac" if refused is one else "phone": None})
        cloud.deliver()
        assert await refused.check() == []
        cloud.sign_in(mac, "bertha")
        assert await listed(one) == []
        assert one.stats()["account_changes"] == 1


async def test_something_else_in_the_place_of_a_record():
    """It is damage of that key, and what begins like ours by chance is left alone."""
    device = ICloudSimulator().device()
    for name, value in {
        "axiom/a": "text",
        "axiom/b": b"zzz",
        "axiom#1": b"no end",
        "axiom/%FF": b"r",
    }.items():
        device.set(name, value)
    async with ICloudKeyValueAdapter(device) as adapter:
        assert await listed(adapter) == ["a", "b"]
        found = await adapter.fetch(["a", "b"])
        assert found["a"].damage == "something else than a record of this library is in its place"
        assert found["b"].damage == "it cannot be inflated"
        assert len(await adapter.check()) == 2


async def test_the_simulator_has_apples_limits():
    """Names, sizes and numbers as documented; late, in any order, the last one wins; chatty ones wait."""
    cloud = ICloudSimulator(seed=3, chatty=2)
    mac, phone = cloud.device(), cloud.device()
    with pytest.raises(InvalidKeyError, match="64 bytes"):
        mac.set("ä" * 33, b"x")
    mac.set("large", b"x" * (1 << 20))
    mac.set("more", b"x")
    assert list(mac.values) == ["large"]
    assert list(mac.told()) == [Reason.QUOTA]
    mac.set("large", None)
    for number in range(1025):
        mac.set(str(number), b"x")
    assert len(mac.values) == 1024
    assert list(mac.told()) == [Reason.QUOTA]
    cloud.step()
    cloud.step()
    cloud.step()
    assert len(cloud.accounts["anna"]) == 2 == mac.sent
    cloud.deliver()
    assert phone.values == mac.values
    mac.set("0", b"mac")
    phone.set("0", b"phone")
    cloud.deliver()
    assert phone.values == mac.values
    cloud.sign_in(phone, None)
    phone.set("alone", b"x")
    cloud.deliver()
    assert "alone" not in cloud.accounts["anna"]
    assert not cloud.step()


# -- macOS, over a double of Foundation that has a simulated device behind it -------------------------


class NSData:
    def __init__(self, data):
        self.data = data

    @classmethod
    def dataWithBytes_length_(cls, data, length):
        return cls(data[:length])

    def __bytes__(self):
        return self.data


def foundation(device):
    """The module, as far as it is used."""
    observers = {}

    class Store:
        def synchronize(self):
            return device.entitled

        def dictionaryRepresentation(self):
            for reason in device.told():
                for block in list(observers.values()):
                    block(types.SimpleNamespace(userInfo=lambda reason=reason: {"reason": int(reason)}))
            return {n: NSData(v) if isinstance(v, bytes) else v for n, v in device.values.items()}

        def setData_forKey_(self, data, name):
            device.set(name, bytes(data))

        def removeObjectForKey_(self, name):
            device.set(name, None)

    class Center:
        def addObserverForName_object_queue_usingBlock_(self, name, store, queue, block):
            assert (name, queue) == ("changed externally", None)
            observers[id(block)] = block
            return id(block)

        def removeObserver_(self, observer):
            del observers[observer]

    class PropertyLists:
        def dataWithPropertyList_format_options_error_(self, value, kind, options, error):
            return NSData(b"x" * 50), None

    store, center = Store(), Center()
    return types.SimpleNamespace(
        NSData=NSData,
        NSUbiquitousKeyValueStore=types.SimpleNamespace(defaultStore=lambda: store),
        NSNotificationCenter=types.SimpleNamespace(defaultCenter=lambda: center),
        NSPropertyListSerialization=PropertyLists(),
        NSUbiquitousKeyValueStoreDidChangeExternallyNotification="changed externally",
        NSUbiquitousKeyValueStoreChangeReasonKey="reason",
        observers=observers,
    )


@pytest.fixture
def mac(monkeypatch):
    """A Mac with the program of a device."""

    def made(device):
        module = foundation(device)
        monkeypatch.setitem(sys.modules, "Foundation", module)
        monkeypatch.setattr(sys, "platform", "darwin")
        return module

    return made


async def test_on_macos(mac):
    """The calls that Apple documents: values as data, notifications by a block, other values counted."""
    cloud = ICloudSimulator()
    device = cloud.device()
    device.set("their own", [1, 2])
    module = mac(device)
    async with adapter_for("icloud:") as adapter:
        await adapter.commit({"k": b"1", "gone": b"1"})
        await adapter.commit({"gone": None})
        cloud.device().set("other", b"x")
        cloud.deliver()
        assert await listed(adapter) == ["k"]
        assert await adapter.read("k") == b"1"
        assert adapter.stats()["server_changes"] == 1
        assert len(module.observers) == 1
        device.entitled = False
        with pytest.raises(StorageError, match="did not take"):
            await adapter.commit({"k": b"2"})
    assert not module.observers
    assert MacUbiquitous().read


async def test_what_is_refused(mac, monkeypatch):
    """Other systems, a program without the entitlement, a name, no package."""
    with pytest.raises(ConfigurationError, match="has no name"):
        adapter_for("icloud:notes")
    with pytest.raises(ConfigurationError, match="only macOS"):
        await adapter_for("icloud:").aopen()
    with pytest.raises(CapabilityUnavailableError):
        await adapter_for("icloud:").read("k")
    with pytest.raises(AccessDeniedError, match="may not use iCloud"):
        await ICloudKeyValueAdapter(ICloudSimulator().device(entitled=False)).aopen()
    mac(ICloudSimulator().device(entitled=False))
    with pytest.raises(AccessDeniedError, match="does not let this program"):
        await adapter_for("icloud:").aopen()
    monkeypatch.setitem(sys.modules, "Foundation", None)
    with pytest.raises(ConfigurationError, match="pyobjc-framework-Cocoa"):
        await adapter_for("icloud:").aopen()
