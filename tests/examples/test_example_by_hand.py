"""A class that keeps its state by hand."""

from support.example_programs import run


def test_what_it_keeps_by_hand_is_there_at_the_next_start(tmp_path):
    """The manager restores and saves a class that is no Client."""
    assert run("by_hand.py", home=tmp_path) == (0, "", "")
    assert run("by_hand.py", "README.md", "12", home=tmp_path) == (0, "README.md: line 12\n", "")
    run("by_hand.py", "notes.txt", "7", home=tmp_path)
    assert run("by_hand.py", home=tmp_path) == (0, "README.md: line 12\nnotes.txt: line 7\n", "")
