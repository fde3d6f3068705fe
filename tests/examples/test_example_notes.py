"""The notebook of the tutorial: a command a process, and the older format comes along."""

from axiom_persistence import blocking
from support.example_programs import run


def test_what_one_command_writes_the_next_one_shows(tmp_path):
    """Notes added, done and removed by separate processes."""
    assert run("notes.py", "add", "buy tea", home=tmp_path) == (0, "0001 open    buy tea\n", "")
    run("notes.py", "add", "milk", home=tmp_path)
    run("notes.py", "done", "0001", home=tmp_path)
    assert run("notes.py", "remove", "0002", home=tmp_path) == (0, "0001 done    buy tea\n", "")
    status, _, said = run("notes.py", "done", "0002", home=tmp_path)
    assert (status, said) == (1, "there is no note 0002\n")


def test_notes_of_the_first_version_are_migrated(tmp_path, monkeypatch):
    """What the first version of the tutorial stored is read in its new form."""
    monkeypatch.setenv("AXIOM_PERSISTENCE_HOME", str(tmp_path))
    with blocking.open_persistence("notes") as persistence:
        persistence.save("notes/0001", {"text": "buy tea", "done": True})
    assert run("notes.py", "list", home=tmp_path) == (0, "0001 done    buy tea\n", "")
