"""The pages are written to be understood at once: no sentence is longer than 30 words."""

import pytest

from support.prose import MOST_WORDS, ROOT, sentences, too_long, worth_a_look

# Written by a program, included from elsewhere, or notes for those who change the library.
OTHERS = {
    "benchmarks.md",
    "command-line.md",
    "changelog.md",
    "contributing.md",
    "design.md",
    "performance.md",
}
PAGES = sorted(page for page in (ROOT / "docs").rglob("*.md") if page.name not in OTHERS)
PAGES.insert(0, ROOT / "README.md")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_sentence_is_long(page, record_property):
    """``python -m support.prose`` lists them, and words that deserve a look."""
    record_property("worth a look", worth_a_look(page))
    assert too_long(page) == []


def test_a_long_sentence_is_noticed(tmp_path):
    """In a paragraph, in a list and in a table; not in code."""
    page = tmp_path / "page.md"
    words = " ".join(["word"] * MOST_WORDS)
    page.write_text(f"{words}. Short.\n\n* {words} more.\n\n| a | {words} more |\n\n```\n{words} more\n```\n")
    assert [len(sentence.split()) for sentence in too_long(page)] == [MOST_WORDS + 1, MOST_WORDS + 1]
    assert list(sentences("`a b` is [one two](x.md). Yes!")) == [["code", "is", "one", "two."], ["Yes!"]]
    page.write_text("Whoever reads this.")
    assert worth_a_look(page) == ["Whoever reads this."]
