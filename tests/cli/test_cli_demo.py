"""The demo shows the promise, and would show that it is broken."""

import json
import os
import re
import subprocess
import sys

import pytest

from axiom_persistence.cli import _demo, main
from support import forgetful

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the demo kills forked processes")


def test_the_demo_proves_that_nothing_is_lost(capsys):
    """Both stores keep everything acknowledged, and a damaged record comes back with a report."""
    assert main(["demo", "--kills", "5", "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    shown = json.loads(out)
    assert shown["kept"] is True
    assert [store["store"] for store in shown["stores"]] == ["sqlite", "files"]
    for store in shown["stores"]:
        assert store["kills"] == 5
        assert store["found"] == store["acknowledged"]
        assert store["lost"] == store["torn"] == store["failed"] == 0
        assert store["violations"] == []
        assert store["damage"]["found"] == "light"
        assert store["damage"]["recovered"] is True


def test_the_demo_tells_in_plain_text(capsys):
    """Without a terminal: a plain table, what became of the damaged record, and what to try next."""
    assert main(["demo", "--kills", "2"]) == 0
    out, _ = capsys.readouterr()
    assert re.search(r"^sqlite +2 +[\d,]+ +[\d,]+ +0 +0 +[\d.]+ ms", out, re.MULTILINE)
    assert re.search(r"^files +2 +[\d,]+ +[\d,]+ +0 +0 +[\d.]+ ms", out, re.MULTILINE)
    assert "The load gave 'light', the save before" in out
    assert "Every acknowledged value was there." in out
    assert out.splitlines()[-1].startswith("  axiom-persistence path")
    assert "\x1b" not in out


def test_a_broken_promise_is_shown(capsys, monkeypatch):
    """With a store that forgets, the demo says so and fails."""
    sqlite, files = _demo._KINDS
    monkeypatch.setattr(_demo, "_KINDS", (sqlite._replace(make=forgetful.Forgetful), files))
    assert main(["demo", "--kills", "20"]) == 1
    out, _ = capsys.readouterr()
    assert "A PROMISE WAS BROKEN" in out
    assert "counted/0" in out


@pytest.mark.skipif(os.name != "posix", reason="a pseudo terminal")
def test_the_demo_on_a_terminal():
    """On a terminal it shows its progress and a coloured table."""
    ours, theirs = os.openpty()
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    with subprocess.Popen(
        [sys.executable, "-m", "axiom_persistence", "demo", "--kills", "3"],
        stdin=theirs, stdout=theirs, stderr=theirs, env={**kept, "TERM": "xterm", "COLUMNS": "120"},
    ) as process:  # fmt: skip
        os.close(theirs)
        seen = b""
        try:
            while piece := os.read(ours, 65536):
                seen += piece
        except OSError:
            pass  # how Linux says that the other side is closed
    os.close(ours)
    text = seen.decode()
    assert process.returncode == 0, text
    assert "saves acknowledged, 0 lost, 0 torn" in text
    assert re.search(r"\x1b\[3[0-9]m *sqlite", text)
    assert "Every acknowledged value was there." in text
