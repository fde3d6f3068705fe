"""The window: on a virtual screen, moved and resized by xdotool, killed and started again."""

import os
import re
import shutil
import signal
import subprocess
from contextlib import contextmanager

import pytest

from axiom_persistence.blocking import open_persistence
from support.example_programs import start, wait_until

MISSING_TOOLS = [tool for tool in ("Xvfb", "xdotool") if shutil.which(tool) is None]
pytestmark = pytest.mark.skipif(bool(MISSING_TOOLS), reason=f"needs {' and '.join(MISSING_TOOLS)}")
pytest.importorskip("tkinter", reason="this interpreter has no tkinter")


@pytest.fixture(scope="module")
def screen():
    """The name of a virtual screen, whose number the server chooses."""
    reading, writing = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writing), "-screen", "0", "1024x768x24", "-nolisten", "tcp"],
        pass_fds=[writing],
        stderr=subprocess.DEVNULL,
    )
    os.close(writing)
    with os.fdopen(reading) as pipe:
        number = pipe.readline().strip()
    yield f":{number}"
    server.terminate()
    server.wait(60)


class Window:
    """The running example, seen and moved from outside."""

    def __init__(self, screen, home):
        self._environment = {"DISPLAY": screen}
        self.home = home
        self.process = start("tk_window.py", home=home, env=self._environment)
        self._id = wait_until(lambda: self.do("search", "--onlyvisible", "--name", "^Kept$"), "a window")

    def do(self, *words):
        done = subprocess.run(
            ["xdotool", *words],
            env={**os.environ, **self._environment},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout.strip()

    def place(self):
        """Its size and position, as the screen has them."""
        said = self.do("getwindowgeometry", "--shell", self._id)
        found = dict(re.findall(r"(\w+)=(\d+)", said))
        return f"{found['WIDTH']}x{found['HEIGHT']}+{found['X']}+{found['Y']}"

    def move(self, width, height, x, y):
        self.do("windowsize", "--sync", self._id, str(width), str(height))
        self.do("windowmove", "--sync", self._id, str(x), str(y))

    def kept(self, key):
        with open_persistence(self.home / "tk-window" / "state.db", mode="inspect") as persistence:
            return persistence.load(f"Window/{key}", str)


@contextmanager
def window(screen, home):
    opened = Window(screen, home)
    try:
        yield opened
    finally:
        opened.process.kill()
        opened.process.wait(60)


def test_a_killed_window_comes_back_where_and_as_large_as_it_was(screen, tmp_path):
    """Moved, resized, written in and killed: the next process has the same geometry and text."""
    with window(screen, tmp_path) as before:
        wait_until(lambda: before.place() == "480x320+80+60", "the geometry of the first start")
        before.move(520, 240, 333, 222)
        before.do("mousemove", "450", "240", "click", "1", "type", "kept words")
        wait_until(
            lambda: (before.kept("geometry"), before.kept("text")) == ("520x240+333+222", "kept words"),
            "the window has noticed",
        )
        before.process.send_signal(signal.SIGKILL)
        assert before.process.wait(60) == -signal.SIGKILL
    with window(screen, tmp_path) as after:
        wait_until(lambda: after.place() == "520x240+333+222", "the geometry it was killed with")
        assert after.kept("text") == "kept words"


def test_a_window_that_is_closed_ends_well(screen, tmp_path):
    """The end of the main loop closes the client and the store."""
    with window(screen, tmp_path) as opened:
        opened.move(300, 200, 10, 20)
        wait_until(lambda: opened.kept("geometry") == "300x200+10+20", "the window has noticed")
        opened.do("mousemove", "100", "40", "click", "1", "key", "Escape")
        assert opened.process.wait(60) == 0
    assert [path.name for path in (tmp_path / "tk-window").iterdir()] == ["state.db"]
