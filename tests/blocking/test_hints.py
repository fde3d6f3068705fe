"""What errors and warnings advise holds in both faces: no hint tells a blocking program to await."""

import ast
import re
from pathlib import Path

import pytest

import axiom_persistence
from axiom_persistence import CapabilityUnavailableError
from axiom_persistence.blocking import Client, client_state, open_persistence
from axiom_persistence.blocking._spelling import spelt

PACKAGE = Path(axiom_persistence.__file__).parent
# These speak to one face only: adapters are used by themselves with await, the rest is for its own programs.
ONE_FACE = {"adapters", "blocking", "cli", "layers", "testing"}
AWAITED = re.compile(r"\bawait\b|\basync with\b")
# Of the mix-up itself: what is of one face, used as if it were of the other.
ABOUT_THE_FACES = {
    "is a blocking client, which nobody can await",
    "is asynchronous, and entered with `async with`, not `with`",
    "write `async with`, in an `async def`; programs without an event loop open the store with "
    "`axiom_persistence.blocking.open_persistence`",
}
# The blocking face has a spelling of its own for this.
SPELT_ANEW = {
    "save its result: `await {name}()`": "save its result: `axiom_persistence.blocking.run({name}())`"
}


def texts(tree):
    """The strings of a module that are not documentation."""
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.lineno, node.value


def test_no_message_of_both_faces_speaks_of_awaiting():
    """Neither a message nor a hint names the spelling of one face."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.relative_to(PACKAGE).parts[0] not in ONE_FACE:
            for line, text in texts(ast.parse(path.read_text(encoding="utf-8"))):
                if AWAITED.search(text) and text.strip() not in ABOUT_THE_FACES | SPELT_ANEW.keys():
                    found.append(f"{path.relative_to(PACKAGE)}:{line}: {text}")
    assert found == []
    assert {text: spelt(text) for text in SPELT_ANEW} == SPELT_ANEW


def test_a_planted_hint_is_found():
    """Also in an f-string, and not in a docstring."""
    tree = ast.parse('def f(x):\n    """await it"""\n    raise E("a", hint=f"use `async with` {x}")\n')
    assert [line for line, text in texts(tree) if AWAITED.search(text)] == [3]


class Preferences(Client):
    theme: str = client_state("light")


def test_what_a_blocking_program_is_told():
    """The errors of ordinary mistakes, as a blocking program meets them."""
    persistence = open_persistence("memory:")
    told = []
    with pytest.raises(CapabilityUnavailableError) as caught:
        persistence.save("a", 1)
    told.append(str(caught.value))
    with persistence:
        with persistence.transaction() as tx:
            pass
        with pytest.raises(CapabilityUnavailableError) as caught:
            tx.load("a", int)
        told.append(str(caught.value))
        with Preferences(persistence) as preferences:
            with pytest.raises(AttributeError) as deleted:
                del preferences.theme
            told.append(str(deleted.value))
        with pytest.raises(CapabilityUnavailableError) as caught:
            preferences.theme = "dark"
        told.append(str(caught.value))
        with pytest.raises(CapabilityUnavailableError) as caught, Preferences(persistence).transaction():
            raise AssertionError("it began")
        told.append(str(caught.value))
    assert [text for text in told if "await" in text or "async" in text] == []
    assert all("`" in text for text in told), told
