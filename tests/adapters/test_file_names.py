"""The names of files, and what nests deep."""

import pytest

from axiom_persistence.adapters._file.names import escape, file_name, key_of, parents_of_prefix
from axiom_persistence.adapters.file import FileStorageAdapter
from axiom_persistence.errors import InvalidKeyError
from axiom_persistence.platform.local import local_filesystem


@pytest.fixture
def place(tmp_path):
    return tmp_path / "store"


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("a", "a.json"),
        ("a/b", "a/b.json"),
        ("UserPreferences/theme", "+user+preferences/theme.json"),
        ("a.b", "a.b.json"),
        (".a", "%2Ea.json"),
        ("a.", "a%2E.json"),
        ("..", "%2E%2E.json"),
        ("../a", "%2E%2E/a.json"),
        ("a.json", "a%2Ejson.json"),
        ("a.json/b", "a%2Ejson/b.json"),
        ("", None),
        ("a//b/", "a/%/b/%.json"),
        ("CON", "+c+o+n.json"),
        ("con", "%63on.json"),
        ("com1.x/y", "%63om1.x/y.json"),
        ("é", "%C3%A9.json"),
        ("e\u0301", "e%CC%81.json"),
        ("50%", "50%25.json"),
        ("+x=~", "%2Bx%3D%7E.json"),
        ("\x01store", "%01store.json"),
        ("x" * 131, "x" * 130 + "=/=x.json"),
        ("x.y" * 44, ("x%2Ey" * 44)[:130] + "=/=" + ("x%2Ey" * 44)[130:] + ".json"),
    ],
)
def test_the_file_name_of_a_key(key, name):
    """The names are part of the format: readable where possible, escaped where not."""
    if name is None:
        with pytest.raises(InvalidKeyError):
            file_name(key)
        return
    assert file_name(key) == name
    assert key_of(name) == key


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "a.json~",
        "A.json",
        "%61.json",
        "%c3%a9.json",
        "%C3.json",
        "%00.json",
        ".json",
        "a/.json",
        "a=/=b.json",
        "a.b.json/c.json",
        "+.json",
        "+é.json",
        "é.json",
        "con.json",
        "%zz.json",
    ],
)
def test_other_file_names_are_of_no_key(name):
    """A file counts only under the one canonical name of its key."""
    assert key_of(name) is None


def test_names_never_meet_or_leave():
    """Names differ after folding case, stay inside, and prefixes find their directory."""
    parts = ["", "é", "e\u0301", "ß", "x" * 130, "x" * 131, "X" * 66, "\U0001f600" * 30]
    parts += ["a", "A", "aA", "%", "%41", "+a", ".", "..", "a.json", "a.JSON", "=", "CON", "con", "SS"]
    keys = {f"{a}/{b}" for a in parts for b in parts} | {part for part in parts if part}
    names = {key: file_name(key) for key in keys}
    assert len({name.casefold() for name in names.values()}) == len(keys)
    folders = {
        name.rpartition("/")[0][: i + 1].rstrip("/") for name in names.values() for i in range(len(name))
    }
    assert not folders & set(names.values())
    for key, name in names.items():
        assert key_of(name) == key
        assert all(
            0 < len(part) <= 142 and part[0] != "." and part[-1] not in ". " for part in name.split("/")
        )
        for end in range(len(key)):
            assert name.startswith("".join(f"{escape(part)}/" for part in parents_of_prefix(key[:end])))


async def test_the_longest_keys(place):
    """Keys of 1,280 bytes work, of slashes alone too, and are listed back."""
    keys = ["/" * 1280, "é" * 640, "X" * 1280, "\U0001f600" * 320, "a/" * 640]
    async with FileStorageAdapter(place) as adapter:
        await adapter.commit({key: key.encode() for key in keys})
        assert [key async for key in adapter.keys()] == sorted(keys)  # noqa: SIM118
        found = await adapter.fetch(keys)
        assert {key: stored.data for key, stored in found.items()} == {key: key.encode() for key in keys}
        assert [key async for key in adapter.keys("/" * 1280)] == ["/" * 1280]
    remove_deep(place)


def remove_deep(place):
    """shutil.rmtree goes as deep as the stack, and no deeper."""
    files = local_filesystem(place)
    files.attach(create=False)
    folders, at = [""], 0
    with files.steady():
        while at < len(folders):
            folder = folders[at]
            at += 1
            for entry in files.scan(folder):
                name = f"{folder}/{entry.name}" if folder else entry.name
                if entry.kind.value == "directory":
                    folders.append(name)
                else:
                    files.unlink(name)
    for folder in reversed(folders[1:]):
        files.rmdir(folder)
    files.detach()
