"""Agents that share a memory: what one learns, the others know."""

import subprocess

from support.example_programs import run, start


def test_what_one_agent_learns_another_knows(tmp_path):
    """Each has a store of its own; a fact changed by another is the later one everywhere."""
    run("shared_memory.py", "ada", "remember", "capital", "Paris", home=tmp_path)
    run("shared_memory.py", "bob", "remember", "river", "Seine", home=tmp_path)
    assert run("shared_memory.py", "eve", "recall", home=tmp_path) == (
        0,
        "capital: Paris (ada)\nriver: Seine (bob)\n",
        "",
    )
    run("shared_memory.py", "bob", "remember", "capital", "Paris, still", home=tmp_path)
    assert "capital: Paris, still (bob)" in run("shared_memory.py", "ada", "recall", home=tmp_path)[1]


def test_an_agent_that_listens_hears_of_it(tmp_path):
    """While it runs, in another process."""
    with start("shared_memory.py", "bob", "listen", home=tmp_path, stdout=subprocess.PIPE) as listener:
        assert listener.stdout.readline() == b"listening\n"
        run("shared_memory.py", "ada", "remember", "capital", "Paris", home=tmp_path)
        assert listener.stdout.readline() == b"capital\n"
        listener.kill()


def test_alone_it_goes_on(tmp_path):
    """A place that cannot be reached is told of, and the fact is kept."""
    (tmp_path / "wall").write_text("")
    nowhere = f"sqlite:{tmp_path}/wall/memory.db"
    status, _, said = run("shared_memory.py", "ada", "remember", "capital", "Paris", nowhere, home=tmp_path)
    assert status == 0
    assert "alone for now" in said
    assert "Paris" in run("shared_memory.py", "ada", "recall", home=tmp_path)[1]
