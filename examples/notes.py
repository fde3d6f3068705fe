"""The notebook of the tutorial at the command line: notes.py add "buy tea", list, done 0001, remove 0001."""

import sys
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


@migrations.value("1.0", "2.0", key="notes/*")
def state_for_done(value):
    value["state"] = "done" if value.pop("done") else "open"
    return value


def open_notes():
    return open_persistence("notes", migrations=migrations, snapshots=Every(hours=24, keep=7))


def add(persistence, text, *, days=None):
    number = persistence.update("last-number", int, lambda n: n + 1, default=0)
    ttl = None if days is None else timedelta(days=days)
    persistence.collection("notes", Note).put(f"{number:04}", Note(text), ttl=ttl)


def done(persistence, id):
    with persistence.transaction() as tx:
        note = tx.collection("notes", Note).get(id)
        if note is None:
            sys.exit(f"there is no note {id}")
        tx.collection("notes", Note).put(id, replace(note, state="done"))


def remove(persistence, id):
    return persistence.collection("notes", Note).delete(id)


def listed(persistence, newest_first=False):
    return dict(persistence.collection("notes", Note).items(reverse=newest_first))


def main(arguments):
    with open_notes() as persistence, Preferences(persistence) as preferences:
        persistence.migrate("1.0", "2.0")
        preferences.starts += 1
        match arguments:
            case ["add", text]:
                add(persistence, text)
            case ["done", id]:
                done(persistence, id)
            case ["remove", id]:
                remove(persistence, id)
            case ["list"] | []:
                pass
            case _:
                sys.exit(__doc__)
        for id, note in listed(persistence, preferences.newest_first).items():
            print(id, note.state.ljust(7), note.text)


if __name__ == "__main__":
    main(sys.argv[1:])
