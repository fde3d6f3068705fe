"""The notebook of the tutorial: notes.py add "buy tea", list, edit ID TEXT, done ID, remove ID.

The end of an id is enough, as long as no other id ends like this.
"""

import secrets
import sys
import time
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Literal

from axiom_persistence import Every, Migrations
from axiom_persistence.blocking import Client, client_state, open_persistence


@dataclass
class Note:
    text: str
    state: Literal["open", "waiting", "done"] = "open"


class Preferences(Client):
    newest_first: bool = client_state(False)
    starts: int = client_state(0)


migrations = Migrations(current="2.0")


def done_for_state(value):
    value["done"] = value.pop("state") == "done"
    return value


@migrations.value("1.0", "2.0", key="notes/*", down=done_for_state)
def state_for_done(value):
    value["state"] = "done" if value.pop("done") else "open"
    return value


def open_notes():
    return open_persistence("notes", migrations=migrations, snapshots=Every(hours=24, keep=7))


def add(persistence, text, *, days=None):
    id = f"{time.time_ns():x}-{secrets.token_hex(4)}"  # in order of time, and no two devices give the same
    ttl = None if days is None else timedelta(days=days)
    persistence.collection("notes", Note).put(id, Note(text), ttl=ttl)
    return id


def edit(persistence, id, text):
    notes = persistence.collection("notes", Note)
    return notes.update(id, lambda note: replace(note, text=text), default=Note(text))


def done(persistence, id):
    with persistence.transaction() as tx:
        notes = tx.collection("notes", Note)
        if notes.exists(id):
            notes.update(id, lambda note: replace(note, state="done"), default=Note(""))


def remove(persistence, id):
    return persistence.collection("notes", Note).delete(id)


def listed(persistence, newest_first=False):
    return dict(persistence.collection("notes", Note).items(reverse=newest_first))


def whole(persistence, end):
    """The one id that ends like this."""
    ids = [id for id in persistence.collection("notes", Note).ids() if id.endswith(end)]
    if len(ids) != 1:
        sys.exit(
            f"there is no note {end}" if not ids else f"{len(ids)} notes end with {end}: give more of the id"
        )
    return ids[0]


def main(arguments):
    with open_notes() as persistence, Preferences(persistence) as preferences:
        persistence.migrate("1.0", "2.0")
        preferences.starts += 1
        match arguments:
            case ["add", text]:
                add(persistence, text)
            case ["edit", id, text]:
                edit(persistence, whole(persistence, id), text)
            case ["done", id]:
                done(persistence, whole(persistence, id))
            case ["remove", id]:
                remove(persistence, whole(persistence, id))
            case ["list"] | []:
                pass
            case _:
                sys.exit(__doc__)
        for id, note in listed(persistence, preferences.newest_first).items():
            print(id, note.state.ljust(7), note.text)


if __name__ == "__main__":
    main(sys.argv[1:])
