"""What is saved encrypted, or in a secure field, is in no byte that the library leaves anywhere."""

import asyncio
import gc
import logging
import os
import shutil
import signal
import subprocess
import sys

import pytest

from axiom_persistence import Client, Migrations, client_state, open_persistence
from axiom_persistence.adapters.file import FileStorageAdapter
from axiom_persistence.adapters.sqlite import SQLiteAdapter
from axiom_persistence.errors import PersistenceError
from axiom_persistence.layers.encrypted import Encrypted
from axiom_persistence.security import StaticKey
from support.marker import MARKER, everything_of, forms, leaks

KEYS = StaticKey(bytes(range(32)))


class Account(Client):
    name: str = client_state("")
    token: str = client_state("", secure=True, validate=lambda token: len(token) < 100)


@pytest.fixture(autouse=True)
def everything_is_told(caplog, monkeypatch, tmp_path):
    """The log at its most talkative, and temporary files where they are looked for."""
    caplog.set_level(logging.DEBUG)
    (tmp_path / "temporary").mkdir()
    for name in ("TMPDIR", "SQLITE_TMPDIR"):
        monkeypatch.setenv(name, str(tmp_path / "temporary"))


def opened(place, layout, **options):
    """An encrypted store, or a plain one with an encrypted place for secrets."""
    if layout == "encrypted":
        return open_persistence(place, keys=KEYS, **options)
    make = SQLiteAdapter if place.suffix == ".db" else FileStorageAdapter
    return open_persistence(
        place, secure=Encrypted(make(place.with_name("of-" + place.name)), KEYS), **options
    )


def failing(value):
    raise ValueError(f"no {value}")


def steps():
    migrations = Migrations(current="2.0")
    migrations.value("1.0", "2.0", key="secret*", down=lambda value: value)(lambda value: value)
    return migrations


async def raised(call):
    """All that is told of what ``call`` raises."""
    try:
        await call()
    except PersistenceError as error:
        return everything_of(error)
    raise AssertionError("nothing was raised")


async def live(place, layout):
    """Saves, updates, mistakes, damage, recovery, snapshots, rotation, a migration back and forth."""
    told = []
    async with opened(place, layout) as persistence, Account(persistence) as account:
        secure = persistence.secure
        account.token = MARKER
        account.name = "ada"
        await account.persist_state()
        account.token = MARKER * 2
        await secure.save_many({f"secret{n}": {"deep": [MARKER, n]} for n in range(20)})
        await secure.update("secret1", dict, lambda value: {**value, "more": MARKER})
        await secure.save("secret2", MARKER * 500)
        await secure.delete("secret3")
        told += [repr(each) for each in (persistence, secure, account, account.token[:0], secure.stats())]
        told.append(await raised(lambda: secure.load("secret1", int)))
        told.append(await raised(lambda: secure.load("secret1", dict[str, int])))
        told.append(await raised(lambda: secure.save("secret1", MARKER, type=int)))
        told.append(await raised(lambda: secure.save("secret1", [MARKER, object()])))
        told.append(await raised(lambda: asyncio.to_thread(setattr, account, "token", MARKER * 9)))
        if layout == "encrypted":
            told.append(await raised(lambda: persistence.export_to(place.with_suffix(".jsonl"))))
        await secure.snapshot()
        await secure.rotate_keys()
        below = secure.adapter.find(Encrypted).inner
        for key in ("secret4", "secret5"):
            await below.commit({key: (await below.read(key))[:-1] + b"x"})
    async with opened(place, layout) as persistence:
        for key in ("secret4", "secret5"):
            await persistence.secure.load(key, dict)
        told += [repr(persistence.secure.reports), str(await persistence.secure.verify(repair=True))]
        assert await persistence.secure.load("secret1", dict) is not None
        (snapshot, *_) = await persistence.secure.snapshots()
        await persistence.secure.restore(snapshot.path)
    wrong = Migrations(current="2.0")
    wrong.value("1.0", "2.0", key="secret*")(failing)
    async with opened(place, layout, migrations=wrong) as persistence:
        told.append(await raised(lambda: persistence.secure.migrate("1.0", "2.0")))
        told.append(await raised(lambda: persistence.secure.load("secret1", dict)))
    async with opened(place, layout, migrations=steps()) as persistence:
        await persistence.secure.migrate("1.0", "2.0")
        await persistence.secure.rollback("1.0")
    return "".join(told)


@pytest.mark.parametrize("name", ["store.db", "store"])
@pytest.mark.parametrize("layout", ["encrypted", "secure"])
async def test_it_is_nowhere(tmp_path, caplog, name, layout, capfd):
    """In stores, logs of databases, journals, temporary files, quarantine, snapshots, logs and exceptions."""
    told = await live(tmp_path / name, layout)
    gc.collect()
    written = capfd.readouterr()
    assert len(told) > 5000
    assert leaks(tmp_path, told + caplog.text + written.out + written.err) == []
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) >= 3


KILLED = """
import asyncio, os, sys
from pathlib import Path
from axiom_persistence import open_persistence
from axiom_persistence.security import StaticKey

MARKER = sys.argv[2][::-1]

async def main():
    async with open_persistence(Path(sys.argv[1]), keys=StaticKey(bytes(range(32)))) as persistence:
        await persistence.save("k", MARKER)
        print("begun", flush=True)
        number = 0
        while True:
            number += 1
            await persistence.save_many({f"k{n}": f"{MARKER} {number}" for n in range(30)})
            await persistence.save("k", MARKER * (number % 90), durability="process_exit")
            await persistence.delete_many([f"k{n}" for n in range(0, 30, 7)])

asyncio.run(main())
"""


@pytest.mark.parametrize("name", ["store.db", "store"])
async def test_it_is_nowhere_after_kills(tmp_path, name):
    """Five SIGKILLs in the middle of saves; each time all that is left is looked at, before and after."""
    for number in range(5):
        command = [sys.executable, "-c", KILLED, str(tmp_path / name), MARKER[::-1]]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as program:
            assert program.stdout.readline() == b"begun\n"
            await asyncio.sleep(0.03 * number)
            program.send_signal(signal.SIGKILL)
        assert leaks(tmp_path) == []
        async with open_persistence(tmp_path / name, keys=KEYS) as persistence:
            assert MARKER in (await persistence.load("k", str) or MARKER)
            assert not persistence.reports
        assert leaks(tmp_path) == []


CLOSED = """
import asyncio, gc, sys, threading
from axiom_persistence import open_persistence
from axiom_persistence.layers.encrypted import Encrypted
from axiom_persistence.security import StaticKey

async def main():
    marker = sys.argv[2][::-1]
    async with open_persistence(sys.argv[1], keys=StaticKey(bytes(range(32)))) as persistence:
        await persistence.save_many({f"k{n}": {"deep": [marker, n]} for n in range(50)})
        for n in range(50):
            await persistence.load(f"k{n}", dict)
        await persistence.update("k1", dict, lambda value: {**value, "more": marker})
        key = persistence.adapter.find(Encrypted).keyset.keys[1].key
        print(key[::-1].hex(), flush=True)
    return persistence  # closed, and still held

closed = asyncio.run(main())
gc.collect()
print("closed", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("gcore") is None, reason="no gcore, which makes core dumps (gdb)"
)
def test_it_is_not_in_the_core_dump_of_a_program_that_closed_its_store(tmp_path):
    """Nor are the store's keys. Freed memory is overwritten here, so what is found is what is still held."""
    command = [sys.executable, "-c", CLOSED, str(tmp_path / "store.db"), MARKER[::-1]]
    wiping = {
        "PYTHONMALLOC": "malloc",
        "MALLOC_PERTURB_": "165",
        "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0",
    }
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **wiping}
    ) as program:
        key = bytes.fromhex(program.stdout.readline().decode())[::-1]
        assert program.stdout.readline() == b"closed\n"
        dump = ["gcore", "-o", str(tmp_path / "core"), str(program.pid)]
        made = subprocess.run(dump, capture_output=True, text=True, check=False, timeout=200)
        program.stdin.close()
    cores = list(tmp_path.glob("core.*"))
    if not cores:
        pytest.skip(f"core dumps cannot be made here: {made.stderr.strip()[-200:]}")
    core = cores[0].read_bytes()
    assert MARKER[::-1].encode() in core, "the dump is one of that program"
    assert [form for form in forms() if form in core] == []
    assert key not in core
    assert key.hex().encode() not in core
    cores[0].unlink()


async def test_a_planted_leak_is_caught(tmp_path, caplog):
    """The search finds a value in a store, in base64, in UTF-16, in a log and behind an exception."""
    async with open_persistence(tmp_path / "plain.db") as persistence:
        await persistence.save("k", MARKER)
        await persistence.save("bytes", f"x{MARKER}".encode())
    (tmp_path / "wide").write_bytes(f"..{MARKER}".encode("utf-16-le"))
    assert {"plain.db", "wide"} <= set(leaks(tmp_path))
    logging.getLogger("axiom_persistence").warning("saved %s", MARKER)
    assert "told" in leaks(tmp_path, caplog.text)

    async def careless():
        try:
            failing(MARKER)
        except ValueError:
            raise PersistenceError("it failed") from None

    assert "told" in leaks(tmp_path, await raised(careless))
