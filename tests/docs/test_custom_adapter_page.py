"""The adapter on the page about custom adapters is complete, and keeps the promises."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "custom-adapter.md"
ADAPTER, SUITE, USE = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.S | re.M)

# Defines FolderAdapter and TestFolderAdapter here, where pytest finds the suite.
exec(compile(ADAPTER + SUITE, str(PAGE), "exec"), globals())


def test_the_adapter_is_short():
    """The class on the page is about 30 lines of code, so a newcomer can read it at a glance."""
    body = ADAPTER[ADAPTER.index("class FolderAdapter") :]
    assert len([line for line in body.splitlines() if line.strip()]) <= 40
