"""One note in two terminals: each has a store of its own, and both meet in a directory that they share.

Needs:   pip install textual
Run it:  python examples/shared_notes.py left         (in another terminal: right; ctrl+q: quit)
         python examples/shared_notes.py laptop /mnt/shared/notes

Type in one, and it is in the other a moment later. Pull the network cable, type in both, plug it in again:
lines that only one has changed are all kept, and what lost is listed (axiom-persistence sync conflicts).
"""

import asyncio
import os
import sys

from textual.app import App, ComposeResult
from textual.widgets import Footer, Header, TextArea

from axiom_persistence import AdapterBasedPersistence, Client, Sync, client_state, open_persistence
from axiom_persistence.sync import SyncStatus, merge_text

PLACE = os.path.join(os.environ.get("AXIOM_PERSISTENCE_HOME", "."), "shared-notes")


class Note(Client):
    text: str = client_state("")


class Notes(App[None]):
    def __init__(self, name: str, note: Note, persistence: AdapterBasedPersistence) -> None:
        super().__init__()
        self.title, self.note, self.persistence = name, note, persistence

    def compose(self) -> ComposeResult:
        yield Header()
        yield TextArea(self.note.text)
        yield Footer()

    def on_mount(self) -> None:
        self.run_worker(self.take_over())
        self.run_worker(self.tell())

    def on_text_area_changed(self, event: TextArea.Changed) -> None:
        self.note.text = event.text_area.text

    async def take_over(self) -> None:
        """Show what the other terminal has written."""
        async for update in self.note.state_stream():
            if update.changed.get("text") == "remote":
                area = self.query_one(TextArea)
                cursor, area.text = area.cursor_location, self.note.text
                area.cursor_location = cursor

    async def tell(self) -> None:
        """Show in the title how far it is."""
        async for event in self.persistence.sync.events():
            if isinstance(event, SyncStatus):
                self.sub_title = event.state


async def main(name: str, place: str = PLACE) -> None:
    sync = Sync("file:" + os.path.abspath(place), every=0.5, resolve={"Note/text": merge_text})
    async with open_persistence(f"notes-{name}", sync=sync) as persistence, Note(persistence) as note:
        await Notes(name, note, persistence).run_async()


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 3:
        sys.exit(__doc__)
    asyncio.run(main(*sys.argv[1:]))
