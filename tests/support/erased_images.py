"""What of an erased subject is left on a whole file system: every byte of its image is searched.

Run as root: ``python tests/support/erased_images.py --store sqlite --keys``. With keys, somebody who has the
store's own key finds neither a value nor the sealed key of the subject. Without, values are left in no other
places than those that the page about privacy names; each such place has a marker of its own.
"""

import argparse
import asyncio
import base64
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from axiom_persistence import open_persistence
from axiom_persistence.layers.encrypted import Encrypted
from axiom_persistence.records._subject import ENTRIES, SUBJECT_KEYS, SubjectKey, subject_key
from axiom_persistence.records.record import open_record
from axiom_persistence.security import StaticKey

MINE = {"sqlite": "x.db", "file": "files"}
KEYS = StaticKey(bytes(range(32)))
SIZE_MB = 32
OUT_OF_REACH = {
    "sqlite": (
        "removed log",
        "journal",
        "replaced",
        "somebody else",
    ),  # all of it in the log of another opening
    "file": ("journal", "replaced", "somebody else"),
}
"""What overwriting cannot reach, as docs/privacy.md says."""


def marker(place):
    """A text that is nowhere else; no two share 8 bytes in a row."""
    return f"<{place}:{hashlib.sha256(place.encode()).hexdigest()}>"


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--store", choices=MINE, default="sqlite")
    options.add_argument("--keys", action="store_true")
    options.add_argument("--file-system", default="ext4")
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        image, mounted = Path(directory) / "image", Path(directory) / "mounted"
        mounted.mkdir()
        with image.open("wb") as file:
            file.truncate(SIZE_MB << 20)
        subprocess.run([f"mkfs.{asked.file_system}", "-q", image], check=True)
        subprocess.run(["mount", "-o", "loop", image, mounted], check=True)
        try:
            history = asyncio.run(lived(mounted / MINE[asked.store], KEYS if asked.keys else None))
        finally:
            subprocess.run(["sync"], check=True)
            subprocess.run(["umount", mounted], check=True)
        data = image.read_bytes()
    found = sorted(name for name, parts in history.items() if any(part in data for part in parts))
    print(json.dumps({"searched": len(data), "found": found}))
    allowed = "somebody else" if asked.keys else OUT_OF_REACH[asked.store]
    wrong = [name for name in found if not name.startswith(allowed)]
    assert not wrong, f"left on the disk: {wrong}"
    assert found, "the search finds nothing at all"


async def lived(where, keys):
    """What is to be searched for, by the place that it was in."""
    history = {}

    def put(place):
        history[place] = [marker(place).encode()]
        return marker(place)

    def options():
        return {} if keys is None else {"subject": "alice"}

    async with open_persistence(where, keys=keys) as persistence:
        await persistence.save("first", "with it comes the header: two keys")
        await persistence.save("a/earlier", put("removed log: saved by an earlier opening"), **options())
        await persistence.save_many({"a/1": put("journal: saved together"), "a/2": "x"}, **options())
        for n in (1, 2, 3):
            await persistence.save("a/often", put(f"replaced: value {n}"), **options())
        await persistence.save("bob", marker("bob"), subject="bob")
        history["somebody else: a value"] = [] if keys else [marker("bob").encode()]
    async with open_persistence(where, keys=keys) as persistence:
        await persistence.save("a/once", put("saved once"), **options())
        await persistence.save("a/twice", put("saved before"), **options())
        await persistence.save("a/twice", put("saved last"), **options())
        await persistence.save("a/large", put("large") * 500, **options())
        await persistence.snapshot()
        if keys is not None:
            await persistence.snapshot(where.parent / "elsewhere")
            await persistence.export_to(where.parent / "archive", secure=True, sealed=True)
        history.update(await secrets_of(persistence) if keys else {})
        report = await persistence.erase(**({"prefix": "a/"} if keys is None else {"subject": "alice"}))
        assert (report.records, report.snapshots) == (7, 1)
        if keys is not None:
            await persistence.snapshot(where.parent / "elsewhere")  # which takes the keys of the erased away
    return history


async def secrets_of(persistence):
    """The keys of subjects, as they are and as they are stored: whoever has the store's key opens these."""
    encrypted = persistence.adapter.find(Encrypted)
    found = {}
    entries = [entry async for entry in encrypted.keys(ENTRIES) if entry.endswith("/a/once")]
    alice = entries[0].split("/")[1]
    async for key in encrypted.keys(SUBJECT_KEYS):
        whose = "alice" if key == subject_key(alice) else "somebody else"
        sealed = (await encrypted.inner.fetch([key]))[key].data
        record = open_record(key, (await encrypted.fetch([key]))[key].data)
        secret = msgspec.json.decode(record.value, type=SubjectKey).key
        found[f"{whose}: the sealed key"] = [sealed[-64:], sealed[-100:-60]]
        found[f"{whose}: the key"] = [secret, base64.b64encode(secret)]
    return found


if __name__ == "__main__":
    sys.exit(main())
