"""Two terminals with one note: under Textual's pilot, each over a store of its own."""

import asyncio
import contextlib

from textual.widgets import TextArea

from axiom_persistence import Sync, open_persistence
from axiom_persistence.sync import merge_text
from support.example_programs import imported

shared_notes = imported("shared_notes")


@contextlib.asynccontextmanager
async def notes(home, name):
    """The application over the store of one terminal, which meets the other in a directory."""
    sync = Sync(f"file:{home}/shared", every=0.1, resolve={"Note/text": merge_text})
    async with (
        open_persistence(home / f"{name}.db", sync=sync) as persistence,
        shared_notes.Note(persistence) as note,
    ):
        app = shared_notes.Notes(name, note, persistence)
        async with app.run_test() as pilot:
            await pilot.pause()
            yield app, pilot


async def until(condition):
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.02)


def text(app):
    return app.query_one(TextArea).text


async def test_what_one_types_the_other_shows(tmp_path):
    """In both directions, and the cursor stays where it is."""
    async with notes(tmp_path, "left") as (left, one), notes(tmp_path, "right") as (right, _):
        await one.press("m", "i", "l", "k", "enter")
        await until(lambda: text(right) == "milk\n")
        right.query_one(TextArea).insert("tea", (1, 0))
        await until(lambda: text(left) == "milk\ntea")
        await until(lambda: left.sub_title == "idle")
        assert left.query_one(TextArea).cursor_location == (1, 0)


async def test_what_both_typed_alone_is_merged_by_lines(tmp_path):
    """Each adds a line while they do not meet; then both have both."""
    async with notes(tmp_path, "left") as (left, one), notes(tmp_path, "right") as (right, _):
        await one.press("a", "enter", "b", "enter", "c")
        await until(lambda: text(right) == "a\nb\nc")
        await left.persistence.sync.pause()
        await right.persistence.sync.pause()
        left.query_one(TextArea).text = "a1\nb\nc"
        right.query_one(TextArea).text = "a\nb\nc2"
        await until(lambda: left.note.text == "a1\nb\nc")
        await until(lambda: right.note.text == "a\nb\nc2")
        await left.persistence.sync.resume()
        await right.persistence.sync.resume()
        await until(lambda: text(left) == text(right) == "a1\nb\nc2")
