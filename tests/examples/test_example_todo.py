"""The to-do list: a command a process, and all of them agree."""

import pytest

from support.example_programs import run, start


def test_what_one_command_writes_the_next_one_shows(tmp_path):
    """Items added and ticked off by separate processes are there for the next."""
    assert run("todo.py", "list", home=tmp_path) == (0, "", "")
    assert run("todo.py", "add", "water the plants", home=tmp_path) == (0, "1. [ ] water the plants\n", "")
    run("todo.py", "add", "grüße senden", home=tmp_path)
    assert run("todo.py", "done", "1", home=tmp_path)[0] == 0
    said = "1. [x] water the plants\n2. [ ] grüße senden\n"
    assert run("todo.py", "list", home=tmp_path) == (0, said, "")


@pytest.mark.parametrize("number", ["0", "2"])
def test_a_number_that_is_none_changes_nothing(tmp_path, number):
    """A mistake ends with a message and status 2, and the list stays as it was."""
    run("todo.py", "add", "one", home=tmp_path)
    status, _, said = run("todo.py", "done", number, home=tmp_path)
    assert status == 2
    assert f"there is no number {number}" in said
    assert "Traceback" not in said
    assert run("todo.py", "list", home=tmp_path)[1] == "1. [ ] one\n"


def test_terminals_at_once_lose_nothing(tmp_path):
    """Eight processes that add at the same time leave eight items."""
    running = [start("todo.py", "add", f"item {n}", home=tmp_path, stdout=-3) for n in range(8)]
    assert [process.wait(60) for process in running] == [0] * 8
    listed = run("todo.py", "list", home=tmp_path)[1].splitlines()
    assert sorted(line.partition("] ")[2] for line in listed) == [f"item {n}" for n in range(8)]
