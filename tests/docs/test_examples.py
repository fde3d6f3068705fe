"""Every example in the README, on the pages and in the docstrings runs."""

import ast
import asyncio
import doctest
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import axiom_persistence

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
# These have tests of their own, which look at more than that they run.
ELSEWHERE = {"custom-adapter.md", "clients.md"}
PAGES = sorted(page for page in (ROOT / "docs").rglob("*.md") if page.name not in ELSEWHERE)
BLOCK = re.compile(
    r"(<!-- not run: (?P<reason>[^\n]+) -->\n)?^```python[^\n]*\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)


def blocks(page):
    """The examples of a page that are run: (lines before it, code). One is left out only with a reason."""
    text = page.read_text(encoding="utf-8")
    for match in BLOCK.finditer(text):
        if match["reason"] is None:
            yield text[: match.start("code")].count("\n"), match["code"]


def run(page, examples):
    """Run the examples of one page in one namespace and one event loop, top-level await allowed."""
    names = {"__name__": page.stem}
    with asyncio.Runner() as runner:
        for before, code in examples:
            # Empty lines in front, so that a failure names the line of the page.
            compiled = compile("\n" * before + code, str(page), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            if compiled.co_flags & inspect.CO_COROUTINE:
                runner.run(eval(compiled, names))
            else:
                exec(compiled, names)


@pytest.mark.parametrize(
    "page", [page for page in [README, *PAGES] if any(blocks(page))], ids=lambda page: page.name
)
def test_the_examples_of_a_page_run(page, tmp_path, monkeypatch):
    """All blocks of a page, one after the other, in an empty directory with a world of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AXIOM_PERSISTENCE_HOME", str(tmp_path / "apps"))
    run(page, list(blocks(page)))


def test_an_example_that_fails_is_noticed(tmp_path):
    """A page with a wrong example fails, at its line; one that is not run needs a reason."""
    page = tmp_path / "page.md"
    page.write_text("text\n\n```python\nx = 1\n```\n\n```python\nassert x == 1\nassert x == 2\n```\n")
    with pytest.raises(AssertionError) as caught:
        run(page, list(blocks(page)))
    assert caught.traceback[-1].lineno + 1 == 9
    page.write_text("<!-- not run: needs a phone -->\n```python\n1/0\n```\n<!-- -->\n```python\n1/0\n```\n")
    assert list(blocks(page)) == [(6, "1/0\n")]


def modules():
    for info in pkgutil.walk_packages(axiom_persistence.__path__, "axiom_persistence."):
        if not info.name.endswith(("__main__", "_windows_files", "_worker")):
            yield importlib.import_module(info.name)


def test_the_examples_in_docstrings_run(tmp_path, monkeypatch):
    """Whatever a docstring shows after >>> is what happens."""
    monkeypatch.chdir(tmp_path)
    finder = doctest.DocTestFinder(exclude_empty=True)
    runner = doctest.DocTestRunner(verbose=False)
    for module in modules():
        for found in finder.find(module, module.__name__):
            runner.run(found)
    assert runner.failures == 0
