"""Where secrets are kept: for their owner alone, under any umask, and never where others may write."""

import os
import stat

import pytest

from axiom_persistence import open_persistence
from axiom_persistence.errors import InsecureStorageError
from axiom_persistence.platform import places
from axiom_persistence.security import FileKey, StaticKey

KEYS = StaticKey(bytes(range(32)))

pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes say nothing there")


@pytest.fixture(params=["store.db", "store"])
def name(request):
    return request.param


def modes(top):
    found = {path.relative_to(top).as_posix(): path.lstat().st_mode for path in top.rglob("*")}
    return {name: (stat.S_ISDIR(mode), stat.S_IMODE(mode)) for name, mode in found.items()}


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o002, 0o777])
async def test_modes_under_any_umask(tmp_path, name, umask):
    """Every file is 0600 and every directory 0700, while the store is open and afterwards."""
    if umask == 0o777 and os.geteuid() != 0:
        pytest.skip("without any rights SQLite makes files that it cannot open itself")
    before = os.umask(umask)
    try:
        keys = FileKey(tmp_path / "store.key", create=True)
        async with open_persistence(tmp_path / "made" / name, keys=keys) as persistence:
            await persistence.save("a/b", "secret")
            await persistence.save("a/b", "another")
            during = modes(tmp_path)
    finally:
        os.umask(before)
    for found in (during, modes(tmp_path)):
        assert len(found) >= 3
        assert all(mode == (0o700 if is_directory else 0o600) for is_directory, mode in found.values()), found


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777, 0o720])
async def test_where_others_may_write(tmp_path, name, mode):
    """Refused before anything is made, and before anything is read; a plain store is as it was."""
    place = tmp_path / "shared"
    place.mkdir()
    inside = place / name
    async with open_persistence(inside, keys=KEYS) as persistence:
        await persistence.save("k", 1)
    victim = place if name == "store.db" else inside
    victim.chmod(mode)
    before = modes(tmp_path)
    for opening in ("normal", "inspect"):
        with pytest.raises(InsecureStorageError, match="where others may write"):
            await open_persistence(inside, keys=KEYS, mode=opening)
    if name == "store.db":
        with pytest.raises(InsecureStorageError, match="where others may write"):
            await open_persistence(place / "new.db", keys=KEYS)
    assert modes(tmp_path) == before
    victim.chmod(0o750)
    async with open_persistence(inside, keys=KEYS) as persistence:
        assert await persistence.load("k", int) == 1
    victim.chmod(mode)
    async with open_persistence(tmp_path / "plain" / name) as persistence:
        (tmp_path / "plain").chmod(mode)
        await persistence.save("k", 1)


async def test_behind_a_symbolic_link(tmp_path, name):
    """The store, or the directory of its file."""
    (tmp_path / "real").mkdir(mode=0o700)
    async with open_persistence(tmp_path / "real" / name, keys=KEYS) as persistence:
        await persistence.save("k", 1)
    (tmp_path / "link").symlink_to("real")
    (tmp_path / f"of-{name}").symlink_to(f"real/{name}")
    refused = [tmp_path / f"of-{name}"]
    if name == "store.db":
        refused.append(tmp_path / "link" / name)
    for place in refused:
        with pytest.raises(InsecureStorageError, match="behind a symbolic link"):
            await open_persistence(place, keys=KEYS)


async def test_of_another_user(tmp_path, name, monkeypatch):
    """Somebody else's directory, unless that is root's or we are root."""
    (tmp_path / "theirs").mkdir(mode=0o755)
    monkeypatch.setattr(places.os, "geteuid", lambda: 54321)
    if os.getuid() == 0:
        os.chown(tmp_path / "theirs", 12345, -1)
    with pytest.raises(InsecureStorageError, match="belongs to another user"):
        places.refuse_shared(tmp_path / "theirs", "it")
    places.refuse_shared("/", "it")
    places.refuse_shared(tmp_path / "not there", "it")


async def test_a_key_file_where_others_may_write(tmp_path):
    """Neither made nor read there."""
    place = tmp_path / "shared"
    place.mkdir(mode=0o700)
    async with open_persistence("memory:", keys=FileKey(place / "key", create=True)):
        pass
    place.chmod(0o777)
    for key in (FileKey(place / "key"), FileKey(place / "other", create=True)):
        with pytest.raises(InsecureStorageError, match="where others may write"):
            await open_persistence("memory:", keys=key)
    assert [path.name for path in place.iterdir()] == ["key"]
