"""An application two releases old and the newest take turns on one store: nothing is lost on either side."""

import random
from dataclasses import dataclass, field

import pytest

from axiom_persistence import Client, Migrations, client_state, open_persistence
from axiom_persistence.errors import SchemaTooNewError

# Each has 1,000 turns over SQLite; files sync more, and have fewer.
STORES = [pytest.param("a.db", 1000, id="sqlite"), pytest.param("files", 150, id="files")]


class Old:
    """What the program of 1.0 knows."""

    @dataclass
    class Link:
        url: str

    @dataclass
    class Profile:
        name: str = ""
        links: list["Old.Link"] = field(default_factory=list)

    class Settings(Client, name="Settings"):
        profile: "Old.Profile" = client_state(default_factory=lambda: Old.Profile())
        count: int = client_state(0)


class New:
    """What the program of 1.2 knows."""

    @dataclass
    class Link:
        url: str
        label: str = ""

    @dataclass
    class Address:
        city: str = ""

    @dataclass
    class Profile:
        name: str = ""
        links: list["New.Link"] = field(default_factory=list)
        colour: str = "grey"
        address: "New.Address | None" = None

    class Settings(Client, name="Settings"):
        profile: "New.Profile" = client_state(default_factory=lambda: New.Profile())
        count: int = client_state(0)
        added: str = client_state("")


class World:
    """One program and what it does, beside a model of what has to be stored, as the newest knows it."""

    def __init__(self, persistence, kinds, chance, model):
        self.persistence, self.kinds, self.chance, self.model = persistence, kinds, chance, model
        self.notes = persistence.collection("notes", kinds.Profile)

    def text(self):
        return "".join(self.chance.choices("abcdefgh", k=8))

    def change(self, plain):
        """How a profile changes: as a function of the object, made on the model's ``plain`` as well."""
        name, place = self.text(), self.chance.randrange(len(plain["links"]) + 1)
        newest = self.kinds is New
        colour, city, label = (self.text() for _ in range(3))
        kind = self.chance.choice(["name", "add", "remove", "move", "colour", "label"])

        def on(value, get, put, link):
            links = get(value, "links")
            if kind == "name":
                put(value, "name", name)
            elif kind == "add":
                links.insert(place, link(name))
            elif kind == "remove" and links:
                del links[place % len(links)]
            elif kind == "move":
                links.reverse()
            elif kind == "colour" and newest:
                put(value, "colour", colour)
                put(value, "address", New.Address(city) if get is getattr else {"city": city})
            elif kind == "label" and newest and links:
                put(links[place % len(links)], "label", label)

        on(plain, dict.__getitem__, dict.__setitem__, lambda url: {"url": url, "label": ""})

        def apply(value):
            on(value, getattr, setattr, self.kinds.Link)
            return value

        return apply

    def profile(self, key):
        return self.model.setdefault(key, {"name": "", "links": [], "colour": "grey", "address": None})

    async def update(self):
        await self.persistence.update(
            "profile", self.kinds.Profile, self.change(self.profile("profile")), default=self.kinds.Profile()
        )

    async def transact(self):
        first, second = self.change(self.profile("a")), self.change(self.profile("b"))
        async with self.persistence.transaction() as tx:
            for key, change in (("a", first), ("b", second)):
                value = await tx.load(key, self.kinds.Profile, default=self.kinds.Profile())
                await tx.save(key, change(value), type=self.kinds.Profile)

    async def put(self):
        id = str(self.chance.randrange(6))
        note = await self.notes.get(id) or self.kinds.Profile()
        await self.notes.put(id, self.change(self.profile(f"notes/{id}"))(note))

    async def save_all(self):
        notes = await self.notes.load_all()
        for id in notes:
            if self.chance.random() < 0.5:
                notes[id] = self.change(self.profile(f"notes/{id}"))(notes[id])
        await self.notes.save_all(notes)

    async def delete(self):
        id = str(self.chance.randrange(6))
        self.model.pop(f"notes/{id}", None)
        await self.notes.delete(id)

    async def settings(self):
        async with self.kinds.Settings(self.persistence) as settings:
            assert settings.phase == "ready"
            settings.profile = self.change(self.profile("Settings/profile"))(settings.profile)
            self.change(self.profile("Settings/profile"))(settings.profile)  # in place
            settings.count += 1
            self.model["count"] = self.model.get("count", 0) + 1
            if self.kinds is New:
                settings.added = self.model["added"] = self.text()

    async def act(self):
        acts = (self.update, self.transact, self.put, self.put, self.save_all, self.delete, self.settings)
        await self.chance.choice(acts)()

    async def check(self):
        """All that is stored, as the newest reads it, is what the model has."""
        found = {}
        async for key in self.persistence.keys(""):
            if key not in ("Settings/count", "Settings/added"):
                found[key] = await self.persistence.load(key, New.Profile)
        expected = {key: _profile(plain) for key, plain in self.model.items() if isinstance(plain, dict)}
        # A client stores no default that nobody has changed.
        assert found == {key: it for key, it in expected.items() if key in found or it != New.Profile()}
        assert await self.persistence.load("Settings/count", int, default=0) == self.model.get("count", 0)
        assert await self.persistence.load("Settings/added", str, default="") == self.model.get("added", "")


def _profile(plain):
    links = [New.Link(**link) for link in plain["links"]]
    address = plain["address"] and New.Address(**plain["address"])
    return New.Profile(plain["name"], links, plain["colour"], address)


def fill_in(value):
    return {"colour": "grey"} | value if isinstance(value, dict) else value


def migrations(current):
    """Those of the program of that version: a minor one that only adds, with a step that fills a field in."""
    made = Migrations(current)
    if current == "1.2":
        made.value("1.0", "1.2", key="*")(fill_in)
    return made


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(("place", "turns"), STORES)
async def test_of_one_major_version(tmp_path, place, turns, seed):
    """The old one keeps what it does not know, whatever it does, and the newest finds it."""
    chance, model = random.Random(seed), {}
    where = tmp_path / place
    async with (
        open_persistence(where, migrations=migrations("1.0"), durability="process_exit") as first,
        open_persistence(where, migrations=migrations("1.2"), durability="process_exit") as last,
    ):
        programs = [World(first, Old, chance, model), World(last, New, chance, model)]
        for turn in range(turns):
            await chance.choice(programs).act()
            if turn % 20 == 19:
                await programs[1].check()
        await programs[1].check()
        assert await last.verify()


async def records(persistence):
    store, _ = persistence.place("")
    keys = [key async for key in store.adapter.keys("") if key[0] != "\x01"]
    return {key: stored.data for key, stored in (await store.adapter.fetch(keys)).items()}


def next_major():
    """2.0: ``both`` has another form with a way back, ``only`` one without, ``same`` is as it was."""
    made = Migrations("2.0")
    made.value("1.0", "2.0", key="both/*", down=lambda value: value["list"])(lambda value: {"list": value})
    made.value("1.0", "2.0", key="only/*")(lambda value: {"list": value})
    return made


@pytest.mark.parametrize(("place", "turns"), STORES)
async def test_of_the_next_major_version(tmp_path, place, turns):
    """The old one reads what has a way back, is refused the rest, and changes nothing any more."""
    chance, where = random.Random(3), tmp_path / place
    async with open_persistence(where, migrations=Migrations("1.0")) as before:
        await before.save_many({f"{kind}/{n}": [n] for kind in ("both", "only", "same") for n in range(3)})
    model = {f"{kind}/{n}": [n] for kind in ("both", "only", "same") for n in range(3)}
    async with (
        open_persistence(where, migrations=Migrations("1.0"), durability="process_exit") as first,
        open_persistence(where, migrations=next_major(), durability="process_exit") as last,
    ):
        assert await first.load("only/0", list[int]) == [0]  # not rewritten by anybody yet
        newer = set()
        for _ in range(turns):
            key = chance.choice(list(model))
            plain = key.startswith("same")
            if chance.random() < 0.5 or not newer:
                value = [*model[key], chance.randrange(100)][-5:]
                await last.save(key, value if plain else {"list": value})
                model[key] = value
                newer.add(key)
            else:
                await _is_old(first, key, model, newer, chance)
            stored = await last.load(key, list[int] if plain else dict[str, list[int]])
            assert stored == (model[key] if plain else {"list": model[key]})
        assert await last.verify()
    async with open_persistence(where, migrations=next_major()) as last:
        found = {key: await last.load(key, list if key.startswith("same") else dict) for key in model}
        assert found == {key: v if key.startswith("same") else {"list": v} for key, v in model.items()}


async def _is_old(first, key, model, newer, chance):
    """What the old program may still do with a key, and what it may not."""
    before = await records(first)
    if key.startswith("only") and key in newer:
        with pytest.raises(SchemaTooNewError):
            await first.load(key, list[int])
    else:
        assert await first.load(key, list[int]) == model[key]
    writes = [
        lambda: first.save(key, [-1]),
        lambda: first.save("fresh", [-1]),
        lambda: first.update(key, list[int], lambda value: [*value, -1], default=[]),
        lambda: first.collection(key.partition("/")[0], list[int]).put(key.partition("/")[2], [-1]),
        lambda: first.save_many({key: [-1], "fresh": 1}),
    ]
    with pytest.raises(SchemaTooNewError):
        await chance.choice(writes)()
    assert await records(first) == before
