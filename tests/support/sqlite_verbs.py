"""A process that uses every verb, for ``sqlite_replay``: ``... DIRECTORY NAME _ PLANT PROCESSES``."""

import asyncio
import sys
from pathlib import Path

from axiom_persistence import SQLiteAdapter, open_persistence
from support.sqlite_replay import STORE, plant_bug, shorten_logs, tell
from support.verbs import RELYING_ON_ALL, User


async def main(directory, name, together):
    shorten_logs()
    here = directory.parent
    async with open_persistence(SQLiteAdapter(directory / STORE, lock_timeout=60)) as persistence:
        (here / f"{name}.ready").touch()
        while len(list(here.glob("*.ready"))) < together:
            await asyncio.sleep(0.001)
        user = User(persistence, name, tell)
        if together == 1:
            await user.alone()
        else:
            await (user.publish if name == "a" else user.rely)(here, RELYING_ON_ALL)


if __name__ == "__main__":
    _, where, called, _, planted, processes = sys.argv
    plant_bug(planted, called)
    asyncio.run(main(Path(where), called, int(processes)))
