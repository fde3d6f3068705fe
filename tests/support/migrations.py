"""A chain of versions, 1.0 to 4.0, with value and store steps, and what each key is at either end."""

from axiom_persistence import Migrations

STORE_STEPS = ("merge_settings", "rename_notes")


def split_name(value):
    first, _, last = value.pop("name").partition(" ")
    return {**value, "first": first, "last": last}


def join_name(value):
    first, last = value.pop("first"), value.pop("last")
    return {**value, "name": f"{first} {last}"}


def larger(value):
    return {"size": value["size"] * 10}


def smaller(value):
    return {"size": value["size"] // 10}


def titled(value):
    return {"title": value.upper()}


def untitled(value):
    return value["title"].lower()


async def merge_settings(tx):
    found = {key: await tx.read(key) for key in ("colour", "font")}
    await tx.write("settings", found)
    for key in found:
        await tx.delete(key)


async def split_settings(tx):
    for key, value in (await tx.read("settings", {})).items():
        await tx.write(key, value)
    await tx.delete("settings")


async def rename_notes(tx):
    async for key in tx.keys("note/"):
        await tx.rename(key, "page/" + key.removeprefix("note/"))


async def rename_pages(tx):
    async for key in tx.keys("page/"):
        await tx.rename(key, "note/" + key.removeprefix("page/"))


def forms():
    """The names of all steps."""
    return ["split_name", "merge_settings", "larger", "rename_notes", "titled"]


def broken(function, how):
    """The step, failing on its last record, or in its end."""
    if function.__name__ in STORE_STEPS:

        async def step(tx):
            await function(tx)
            if how == "raises":
                raise ValueError("planted")
            await tx.write("settings" if function is merge_settings else "page/000", bad(how))

    else:

        def step(value):
            function(value)
            if how == "raises":
                raise ValueError("planted")
            return bad(how)

        if how == "async":

            async def step(value):
                return value

    step.__name__ = function.__name__
    return step


def bad(how):
    return float("nan") if how == "not json" else 17


def chain(*, fail=None, how="raises", downs=False):
    """The migrations of the newest version; one step may be broken."""
    migrations = Migrations("4.0")

    def use(function):
        return broken(function, how) if function.__name__ == fail else function

    store_downs = {"merge_settings": split_settings, "rename_notes": rename_pages} if downs else {}
    migrations.value("1.0", "2.0", key="profile", down=join_name)(use(split_name))
    migrations.store("1.0", "2.0", down=store_downs.get("merge_settings"))(use(merge_settings))
    migrations.value("2.0", "3.0", key="item/*", down=smaller if downs else None)(use(larger))
    migrations.store("2.0", "3.0", down=store_downs.get("rename_notes"))(use(rename_notes))
    migrations.value("3.0", "4.0", key="page/*", down=untitled if downs else None)(use(titled))
    migrations.validate("profile", dict)
    migrations.validate("item/*", dict[str, int])
    migrations.validate("settings", dict[str, str])
    migrations.validate("page/*", dict[str, str])
    return migrations


def first_values(count):
    """The values of a store at 1.0."""
    return {
        "colour": "red",
        "font": "mono",
        "profile": {"age": 36, "name": "Ada Lovelace"},
        "unaffected": [1, 2, 3],
        **{f"item/{i:03}": {"size": i} for i in range(count)},
        **{f"note/{i:03}": f"note {i}" for i in range(count)},
    }


def expected(count):
    """The same at 4.0."""
    return {
        "profile": {"age": 36, "first": "Ada", "last": "Lovelace"},
        "settings": {"colour": "red", "font": "mono"},
        "unaffected": [1, 2, 3],
        **{f"item/{i:03}": {"size": i * 10} for i in range(count)},
        **{f"page/{i:03}": {"title": f"NOTE {i}"} for i in range(count)},
    }
