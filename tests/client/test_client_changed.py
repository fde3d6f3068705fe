"""A field that got another name, type, default or enumeration takes over what earlier versions stored."""

import asyncio
from dataclasses import dataclass
from enum import Enum

import pytest

from axiom_persistence import Client, client_state, open_persistence
from axiom_persistence.adapters.memory import MemoryAdapter
from axiom_persistence.errors import ConfigurationError, TypeMismatchError
from axiom_persistence.storage import NOT_NOW, Layer
from axiom_persistence.testing import ConfidentialMemory


@dataclass
class Size:
    width: int
    height: int


class Theme(Enum):
    SYSTEM = "system"
    NIGHT = "night"

    @classmethod
    def _missing_(cls, value):
        return cls.NIGHT if value == "dark" else None


def from_text(old):
    width, height = old.split("x")
    return {"width": int(width), "height": int(height)}


class Window(Client, name="Window"):
    title: str = client_state("", was="name")
    volume: int = client_state(5, was=("loudness", "gain"))
    size: Size = client_state(default_factory=lambda: Size(1, 1), migrate=from_text)
    theme: Theme = client_state(Theme.SYSTEM)


class Secret(Client, name="Secret"):
    token: int = client_state(0, secure=True, was="pin", migrate=lambda old: int(old))


@pytest.fixture(params=["a.db", "directory"])
async def persistence(request, tmp_path):
    async with open_persistence(tmp_path / request.param) as persistence:
        yield persistence


async def keys(persistence):
    return [key async for key in persistence.keys("")]


async def test_a_renamed_field_takes_its_record_along(persistence):
    await persistence.save_many({"Window/name": "old", "Window/gain": 3})
    async with Window(persistence) as window:
        assert (window.title, window.volume) == ("old", 3)
        assert window.restore_report.restored == ("title", "volume")
        assert await keys(persistence) == ["Window/title", "Window/volume"]
        window.volume = 4
    async with Window(persistence) as window:
        assert (window.title, window.volume) == ("old", 4)


async def test_what_is_under_the_new_name_wins(persistence):
    await persistence.save_many({"Window/name": "old", "Window/title": "new"})
    await persistence.save_many({"Window/loudness": 1, "Window/gain": 2})
    async with Window(persistence) as window:
        assert (window.title, window.volume) == ("new", 1)
    assert await keys(persistence) == ["Window/gain", "Window/name", "Window/title", "Window/volume"]


async def test_what_was_assigned_before_the_restore_wins(persistence):
    await persistence.save("Window/name", "old")
    window = Window(persistence)
    window.title = "mine"
    async with window:
        assert window.title == "mine"
    assert await persistence.load("Window/title", str) == "mine"
    assert await keys(persistence) == ["Window/title"]


class Slow(Layer):
    """Reads take as long as a test wants."""

    def __init__(self, inner):
        super().__init__(inner)
        self.go_on = asyncio.Event()
        self.go_on.set()

    def fetch_now(self, key):
        return NOT_NOW

    async def fetch(self, keys):
        await self.go_on.wait()
        return await super().fetch(keys)


async def test_nothing_is_saved_before_the_restore_has_read():
    """What cannot be read must not be overwritten by what was assigned, however long the reading takes."""
    memory = MemoryAdapter()
    async with open_persistence(memory) as persistence:
        await persistence.save("Window/volume", "loud")
        async with open_persistence(Slow(memory), cache=None) as slowly:
            slow = slowly.adapter.find(Slow)
            window = Window(slowly)
            window.volume = 7
            slow.go_on.clear()
            restoring = asyncio.create_task(window.restore_state())
            for _ in range(20):
                await asyncio.sleep(0)
            assert await persistence.load("Window/volume", str) == "loud"
            slow.go_on.set()
            await restoring
            assert window.pending == ("volume",)
            assert "volume" in window.restore_report.unreadable
            await window.close(discard=True)


async def test_a_renamed_field_of_another_type_is_refused_and_kept(persistence):
    await persistence.save("Window/gain", "loud")
    async with Window(persistence) as window:
        assert window.volume == 5
        assert "volume" in window.restore_report.unreadable
    assert await persistence.load("Window/volume", str) == "loud"


async def test_a_store_that_is_only_read(tmp_path):
    async with open_persistence(tmp_path / "a.db") as persistence:
        await persistence.save("Window/name", "old")
    async with open_persistence(tmp_path / "a.db", mode="inspect") as persistence:
        window = Window(persistence)
        await window.restore_state()
        assert window.title == "old"
        await window.close(discard=True)
        assert await keys(persistence) == ["Window/name"]


async def test_a_retyped_field(persistence):
    await persistence.save("Window/size", "800x600")
    for _ in range(2):  # until it is saved, what is stored stays as it is
        async with Window(persistence) as window:
            assert window.size == Size(800, 600)
            assert window.restore_report.migrated == ("size",)
        assert await persistence.load("Window/size", str) == "800x600"
    async with Window(persistence) as window:
        window.size.width = 1024
    async with Window(persistence) as window:
        assert window.size == Size(1024, 600)
        assert window.restore_report.migrated == ()


@pytest.mark.parametrize("stored", ["800", "ax b", 7])
async def test_a_migrate_that_cannot_leaves_everything_as_it_is(persistence, stored):
    await persistence.save("Window/size", stored)
    async with Window(persistence) as window:
        error = window.restore_report.unreadable["size"]
        assert isinstance(error, TypeMismatchError)
        assert "migrate of Window.size" in str(error)
        assert error.key == "Window/size"
        assert window.size == Size(1, 1)
    assert await persistence.load("Window/size", type(stored)) == stored


async def test_an_enumeration_with_a_renamed_value(persistence):
    await persistence.save("Window/theme", "dark")
    async with Window(persistence) as window:
        assert window.theme is Theme.NIGHT
        window.theme = Theme.NIGHT
        await window.persist_state()
    assert await persistence.load("Window/theme", str) == "night"


async def test_a_secret_is_renamed_and_retyped_and_never_shown(tmp_path):
    async with open_persistence(tmp_path / "a.db", secure=ConfidentialMemory()) as persistence:
        await persistence.secure.save("Secret/pin", "1234")
        async with Secret(persistence) as secret:
            assert secret.token == 1234
        await persistence.secure.save("Secret/token", "hidden")
        async with Secret(persistence) as secret:
            assert "hidden" not in str(secret.restore_report.unreadable["token"])


async def test_the_error_names_the_ways_out(persistence):
    await persistence.save("Window/volume", "loud")
    async with Window(persistence) as window:
        said = str(window.restore_report.unreadable["volume"])
    assert '@migrations.value("1.0", "2.0", key=\'Window/volume\')' in said
    assert "`volume: ... = client_state(..., migrate=...)`" in said
    assert "`client.accept('volume')`" in said


@dataclass
class Wide:
    width: int
    depth: int


@pytest.mark.parametrize(
    ("stored", "kind", "said"),
    [
        ({"width": 1}, Wide, "`depth: ... = ...`"),
        ("grey", Theme, "`_missing_`"),
        ("1", int, "@migrations.value"),
    ],
)
async def test_a_load_names_the_line_to_write(persistence, stored, kind, said):
    await persistence.save("it", stored)
    with pytest.raises(TypeMismatchError) as raised:
        await persistence.load("it", kind)
    assert said in str(raised.value)
    assert "'it'" in str(raised.value)


def test_what_was_cannot_be():
    with pytest.raises(ConfigurationError, match="cannot take over 'other'"):

        class Taken(Client):
            other: int = client_state(1)
            one: int = client_state(1, was="other")

    with pytest.raises(ConfigurationError, match="cannot take over 'one'"):

        class Own(Client):
            one: int = client_state(1, was="one")

    with pytest.raises(ConfigurationError, match="cannot take over 'old'"):

        class Both(Client):
            one: int = client_state(1, was="old")
            two: int = client_state(1, was="old")

    with pytest.raises(ConfigurationError, match="migrate is a function"):
        client_state(1, migrate=3)  # type: ignore[call-overload]
