"""The one list of hooks: its order, at real exits of the interpreter and real forks."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "src" / "axiom_persistence"


def run(code):
    """Run ``code`` with a ``say`` that writes a line, in an interpreter of its own."""
    begin = (
        "import os, sys\n"
        "from axiom_persistence.runtime import ending\n"
        "def say(*words): os.write(1, (' '.join(map(str, words)) + '\\n').encode())\n"
        "def sayer(word): return lambda: say(word)\n"
    )
    return subprocess.run(
        [sys.executable, "-c", begin + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("end", ["", "sys.exit(0)"])
def test_lower_ranks_run_first_at_exit(end):
    """In the order of ranks, whenever they were registered; of one rank the last registered first."""
    ended = run(
        f"""
        for rank, word in ((30, "adapter"), (10, "client"), (40, "loop"), (20, "cache"), (20, "later cache")):
            ending.at_exit(rank, sayer(word))
        {end}
        """
    )
    assert ended.stdout.split("\n")[:-1] == ["client", "later cache", "cache", "adapter", "loop"]
    assert (ended.returncode, ended.stderr) == (0, "")


def test_hooks_taken_back_and_hooks_that_come_late():
    """One that was taken back is not called; one that comes while others run still has its place."""
    ended = run(
        """
        taken, late = sayer("taken back"), sayer("late")
        ending.at_exit(10, taken)
        ending.not_at_exit(taken)
        ending.not_at_exit(taken)
        ending.at_exit(10, lambda: ending.at_exit(20, late))
        ending.at_exit(30, sayer("last"))
        """
    )
    assert ended.stdout == "late\nlast\n"


def test_every_hook_runs_though_others_raise():
    """Every error is shown, as ``atexit`` does it."""
    ended = run(
        """
        def fails(word):
            def hook():
                say(word)
                raise ValueError(word)
            return hook
        ending.at_exit(10, fails("one"))
        ending.at_exit(20, fails("two"))
        ending.at_exit(30, sayer("three"))
        """
    )
    assert ended.stdout == "one\ntwo\nthree\n"
    assert "ValueError: one" in ended.stderr
    assert "ValueError: two" in ended.stderr


def test_an_application_registered_later_comes_first():
    """Its own exit handlers still find everything open, unless they are older than the library."""
    ended = run(
        """
        import atexit
        ending.at_exit(10, sayer("ours"))
        atexit.register(say, "the application's")
        """
    )
    assert ended.stdout == "the application's\nours\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_the_hooks_of_a_fork():
    """Each on its side and in its order, every one though others raise, at every fork."""
    ended = run(
        """
        def fails(): raise ValueError("planted")
        for rank, word in ((30, "adapter"), (10, "client")):
            ending.before_fork(rank, sayer(f"before {word}"))
            ending.after_fork(rank, sayer(f"child {word}"))
            ending.after_fork_in_parent(rank, sayer(f"parent {word}"))
        ending.after_fork(20, fails)
        ending.at_exit(10, sayer("exit"))
        for _ in range(2):
            if os.fork() == 0:
                os._exit(0)
            os.wait()
        """
    )
    lines = ended.stdout.split("\n")[:-1]
    for side in ("before", "child", "parent"):
        assert [line for line in lines if line.startswith(side)] == [f"{side} client", f"{side} adapter"] * 2
    assert lines[-1] == "exit"
    assert ended.stderr.count("ValueError: planted") == 2


def test_nothing_else_registers():
    """No other module of the library has hooks of its own, whose order nobody would know."""
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if path.name != "ending.py" or path.parent.name != "runtime":
            assert "atexit.register(" not in text, path
            assert "register_at_fork(" not in text, path
