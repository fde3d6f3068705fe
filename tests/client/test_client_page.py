"""The page about clients does what it says."""

from __future__ import annotations

import ast
import inspect
import re
import signal
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "clients.md"


async def test_the_examples_run(capsys):
    """Every example of the page runs, one after the other, in one namespace."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) >= 8
    names = {"__name__": "clients_page"}
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        for block in blocks:
            code = compile(block, str(PAGE), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            running = eval(code, names)
            if inspect.isawaitable(running):
                await running
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
    printed = capsys.readouterr().out
    assert "Player.volume refuses <int>" in printed
    assert "did you mean 'volume'" in printed
    assert "degraded" in printed
    assert "changed: items, total" in printed
