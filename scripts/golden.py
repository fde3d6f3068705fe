"""Write the golden stores of this release: python scripts/golden.py 0.1.0

They go to tests/golden/<release>/, where tests/golden/test_golden.py opens those of every release for ever.
Run it once for a release, and again only as long as that one is not out. What is in them is
tests/golden/contents.py, of which each release keeps a copy.
"""

import asyncio
import importlib
import shutil
import sys
from datetime import timedelta
from pathlib import Path

from axiom_persistence import open_persistence
from axiom_persistence.records.record import seal_record
from axiom_persistence.security import StaticKey

GOLDEN = Path(__file__).parents[1] / "tests" / "golden"
sys.path.insert(0, str(GOLDEN))
contents = importlib.import_module("contents")
STORES = {"state.db": None, "files": None, "encrypted.db": StaticKey(contents.KEY)}


async def migrate(place: Path) -> None:
    """A store of 2.0 that keeps the originals of 1.0."""
    async with open_persistence(place, cache=None) as persistence:
        await persistence.save_many(contents.OLD)
    async with open_persistence(place, cache=None, migrations=contents.migrations()) as persistence:
        await persistence.migrate("1.0", "2.0")


async def write(place: Path, keys: StaticKey | None) -> None:
    async with open_persistence(place, keys=keys, cache=None) as persistence:
        await persistence.save("zero", 1)  # the generation before
        store, _ = persistence.place("")
        for key, stored in contents.CONTENTS.items():
            await persistence.save(key, stored.value, type=stored.kind, **stored.options)
        await persistence.save(contents.GONE, 1, ttl=timedelta(milliseconds=1))
        newer = seal_record(contents.NEWER, b'{"form":2}', "2.0")
        both = seal_record(contents.COMPATIBLE, b'{"form":2}', "2.0", compat=b'{"form":1}')
        await store.commit({contents.NEWER: newer, contents.COMPATIBLE: both})
        async with contents.Preferences(persistence) as preferences:
            preferences.theme = contents.Theme.DARK
            preferences.recent.append("a.txt")
            preferences.size = contents.Size(8, 6)
        notes = persistence.collection("notes", contents.Note)
        await notes.save_all({str(number): contents.Note(f"note {number}") for number in range(3)})


def main(release: str) -> None:
    target = GOLDEN / release
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for name, keys in STORES.items():
        asyncio.run(write(target / name, keys))
    for name in contents.MIGRATED:
        asyncio.run(migrate(target / name))
    # Beside the stores, so that a change of contents.py later changes nothing of what they are held against.
    shutil.copyfile(GOLDEN / "contents.py", target / "contents.py")
    size = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    print(f"{target}: {size:,} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
