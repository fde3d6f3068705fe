"""The notebook of the tutorial: a command a process, and the older format comes along, and goes back."""

from datetime import timedelta

import pytest

from axiom_persistence import Sync, blocking
from support.example_programs import imported, run

notes = imported("notes")


def command(*arguments, home):
    """Run one command; the lines that it printed, as (id, the rest)."""
    status, out, err = run("notes.py", *arguments, home=home)
    assert (status, err) == (0, "")
    return [tuple(line.split(" ", 1)) for line in out.splitlines()]


def test_what_one_command_writes_the_next_one_shows(tmp_path):
    """Notes added, edited, done and removed by separate processes; the oldest is first."""
    [(tea, shown)] = command("add", "buy tea", home=tmp_path)
    assert shown == "open    buy tea"
    [_, (milk, _)] = command("add", "milk", home=tmp_path)
    command("done", tea, home=tmp_path)
    command("edit", tea, "buy green tea", home=tmp_path)
    assert command("remove", milk[-8:], home=tmp_path) == [(tea, "done    buy green tea")]
    status, _, said = run("notes.py", "done", milk, home=tmp_path)
    assert (status, said) == (1, f"there is no note {milk}\n")


def test_the_end_of_an_id_has_to_be_of_one_note(blocking_persistence):
    for _ in range(2):
        notes.add(blocking_persistence, "buy tea")
    with pytest.raises(SystemExit, match="2 notes end with"):
        notes.whole(blocking_persistence, "")


def test_a_note_that_is_done_or_edited_still_goes_by_itself(blocking_persistence, pass_time):
    """Neither of them changes when a note expires, and one that is gone does not come back as done."""
    parcel = notes.add(blocking_persistence, "the parcel comes", days=3)
    notes.done(blocking_persistence, parcel)
    notes.edit(blocking_persistence, parcel, "it comes")
    assert notes.listed(blocking_persistence) == {parcel: notes.Note("it comes", "done")}
    pass_time(timedelta(days=4).total_seconds())
    notes.done(blocking_persistence, parcel)
    assert notes.listed(blocking_persistence) == {}


def test_two_devices_that_were_apart_keep_the_notes_of_both(tmp_path):
    """Each adds a note before they meet: no id of one is an id of the other."""

    def device(name):
        place = Sync(f"sqlite:{tmp_path / 'shared.db'}")
        return blocking.open_persistence(tmp_path / f"{name}.db", sync=place)

    with device("laptop") as laptop, device("desktop") as desktop:
        added = {notes.add(laptop, "pack the bags"), notes.add(desktop, "water the plants")}
        for each in (laptop, desktop, laptop):
            each.sync.now()
        assert set(notes.listed(laptop)) == set(notes.listed(desktop)) == added


def test_notes_of_the_first_version_are_migrated_and_go_back(tmp_path, monkeypatch):
    """What the first version of the tutorial stored is read in its new form; a note added since goes back."""
    monkeypatch.setenv("AXIOM_PERSISTENCE_HOME", str(tmp_path))
    with blocking.open_persistence("notes") as persistence:
        persistence.save("notes/1", {"text": "buy tea", "done": True})
    assert command("list", home=tmp_path) == [("1", "done    buy tea")]
    [_, (milk, _)] = command("add", "milk", home=tmp_path)
    command("edit", "1", "buy green tea", home=tmp_path)
    with notes.open_notes() as persistence:
        assert persistence.rollback("1.0").set_aside == []
    with blocking.open_persistence("notes") as persistence:
        assert persistence.collection("notes", dict).load_all() == {
            "1": {"text": "buy green tea", "done": True},
            milk: {"text": "milk", "done": False},
        }
