"""Every link of every page leads to a file and, where it names one, to a heading."""

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
LINK = re.compile(r'!?\[[^\]]*\]\(([^)\s]+)(?: "([^"]*)")?\)')
BLOCK = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)


@cache
def prose(page):
    """A page without its blocks of code."""
    return BLOCK.sub("", page.read_text(encoding="utf-8"))


@cache
def anchors(page):
    """The names under which the headings of a page can be linked to, as GitHub and the site make them."""
    found = []
    for heading in re.findall(r"^#{1,6} (.+)$", prose(page), re.MULTILINE):
        text = LINK.sub(lambda link: link[0][1 : link[0].index("]")], heading)
        name = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        found.append(name if name not in found else f"{name}-{found.count(name)}")
    return found


def links(page):
    return [(match[1], match[2]) for match in LINK.finditer(prose(page))]


def broken(page):
    """What is wrong with the links of one page."""
    for target, title in links(page):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = page if not name else (page.parent / name).resolve()
        if not file.exists():
            yield f"{target}: there is no such file"
        elif anchor and anchor not in anchors(file):
            yield f"{target}: there is no such heading"
        elif title and f"def {title}(" not in file.read_text(encoding="utf-8"):
            yield f"{target}: there is no test {title}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_links_of_a_page_lead_somewhere(page):
    """A file that is there, a heading in it, or a test of that name."""
    assert list(broken(page)) == []


def test_a_broken_link_is_noticed(tmp_path):
    """A file, a heading and a test that are not there."""
    page = tmp_path / "page.md"
    page.write_text(
        "# One `two`, three\n\n[a](#one-two-three) [b](#one) [c](no.md) [d](page.md#x) "
        '[e](test.py "test_it") [f](test.py "test_no")\n\n```\n[g](no.md)\n```\n'
    )
    (tmp_path / "test.py").write_text("def test_it(): ...\n")
    assert [text.partition(":")[0] for text in broken(page)] == ["#one", "no.md", "page.md#x", "test.py"]


def test_each_page_is_linked_to():
    """Nobody finds a page that no other page names."""
    linked = {ROOT / "README.md", ROOT / "docs" / "index.md"} | {
        (page.parent / target.partition("#")[0]).resolve() for page in PAGES for target, _ in links(page)
    }
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8").split()
    in_the_tree = {(ROOT / "docs" / f"{name}.md").resolve() for name in index}
    reference = (ROOT / "docs" / "reference" / "index.md").read_text(encoding="utf-8").split()
    in_the_tree |= {(ROOT / "docs" / "reference" / f"{name}.md").resolve() for name in reference}
    assert [page.name for page in PAGES if page not in linked | in_the_tree] == []
