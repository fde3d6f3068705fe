"""The notepad: driven by Textual's pilot, and as a real process on a terminal of its own, killed."""

import codecs
import contextlib
import fcntl
import os
import re
import select
import signal
import struct
import termios

import pytest
from textual.widgets import TextArea

from axiom_persistence import open_persistence
from axiom_persistence.blocking import open_persistence as open_blocking
from support.example_programs import imported, start, wait_until

textual_notes = imported("textual_notes")


@contextlib.asynccontextmanager
async def notes(place):
    """The application under Textual's pilot, over the store at ``place``."""
    async with open_persistence(place) as persistence, textual_notes.View(persistence) as view:
        app = textual_notes.Notes(view)
        async with app.run_test() as pilot:
            await pilot.pause()
            yield app, pilot


async def test_it_looks_as_it_did_when_it_was_left(tmp_path):
    """Text, cursor, theme and panel of one run are those of the next."""
    async with notes(tmp_path / "notes.db") as (app, pilot):
        await pilot.press("m", "i", "l", "k", "left", "left", "f2", "f3", "f3")
        assert app.query_one(TextArea).text == "milk"
    async with notes(tmp_path / "notes.db") as (app, _):
        area = app.query_one(TextArea)
        assert (area.text, area.cursor_location) == ("milk", (0, 2))
        assert app.theme == "nord"
        assert not app.query_one("#panel").display


async def test_the_first_run_has_the_defaults(tmp_path):
    """Without a store there is an empty note beside a panel."""
    async with notes(tmp_path / "notes.db") as (app, _):
        assert app.query_one(TextArea).text == ""
        assert app.query_one("#panel").display
        assert app.theme == "textual-dark"


class Terminal:
    """A pseudo-terminal with the application on it."""

    def __init__(self, home):
        self._master, slave = os.openpty()
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.shown = ""
        self.process = start(
            "textual_notes.py",
            home=home,
            env={"TERM": "xterm-256color", "LANG": "C.UTF-8"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)

    def press(self, keys):
        os.write(self._master, keys.encode())

    def shows(self, text):
        """Whether ``text`` was drawn so far."""
        while select.select([self._master], [], [], 0)[0]:
            try:
                self.shown += self._decoder.decode(os.read(self._master, 65536))
            except OSError:  # the other end is gone
                break
        return text in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.shown)

    def close(self):
        self.process.kill()
        self.process.wait(60)
        os.close(self._master)


@contextlib.contextmanager
def terminal(home):
    opened = Terminal(home)
    try:
        yield opened
    finally:
        opened.close()


def stored(home):
    with open_blocking(home / "textual-notes" / "state.db", mode="inspect") as persistence:
        return persistence.load("View/text", str), persistence.load("View/panel", bool, default=True)


@pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals and SIGKILL are POSIX")
def test_kill_9_takes_nothing_that_was_on_the_screen(tmp_path):
    """What was typed before SIGKILL is on the screen of the next process, and the panel still hidden."""
    with terminal(tmp_path) as before:
        wait_until(lambda: before.shows("is kept"), "the panel is drawn")
        before.press("\x1bOQ")  # F2
        before.press("remember the milk")
        wait_until(lambda: stored(tmp_path) == ("remember the milk", False), "the keys have arrived")
        before.process.send_signal(signal.SIGKILL)
        assert before.process.wait(60) == -signal.SIGKILL
    with terminal(tmp_path) as after:
        wait_until(lambda: after.shows("remember the milk"), "the note is drawn again")
        assert not after.shows("is kept")
        after.press("\x11")  # ctrl+q
        assert after.process.wait(60) == 0
