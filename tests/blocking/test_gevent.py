"""A program whose modules gevent has replaced: the verbs work in it, or say what to leave alone."""

import importlib.util
import os
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.skipif(importlib.util.find_spec("gevent") is None, reason="gevent is not installed")

PROGRAM = """
    from gevent import monkey
    monkey.patch_all({left_alone})
    import sys
    import gevent
    from axiom_persistence.blocking import Client, client_state, open_persistence

    class Preferences(Client):
        theme: str = client_state("system")

    with open_persistence(sys.argv[1]) as persistence, Preferences(persistence) as preferences:
        preferences.theme = "dark"
        add = lambda: persistence.update("count", int, lambda count: count + 1, default=0)
        gevent.joinall([gevent.spawn(add) for _ in range(20)], raise_error=True)
        with persistence.transaction() as tx:
            tx.save("twice", 2 * tx.load("count", int))
    with open_persistence(sys.argv[1]) as persistence, Preferences(persistence) as preferences:
        print(persistence.load("twice", int), preferences.theme)
"""


def ran(left_alone, place):
    program = textwrap.dedent(PROGRAM.format(left_alone=left_alone))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(
        [sys.executable, "-c", program, place],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("store", ["store.db", "store"])
def test_beside_threads_that_stayed_threads(store, tmp_path):
    done = ran("thread=False, select=False, queue=False", tmp_path / store)
    assert done.stdout == "40 dark\n", done.stderr


@pytest.mark.parametrize("left_alone", ["", "thread=False"])
def test_patched_threads_are_refused(left_alone, tmp_path):
    done = ran(left_alone, tmp_path / "store.db")
    assert done.returncode == 1
    assert "patch_all(thread=False, select=False, queue=False)" in done.stderr
