"""The adapter on the page about custom adapters is complete, and keeps the promises."""

import re
from pathlib import Path

from axiom_persistence.layers.journaled import Journaled
from axiom_persistence.testing import AdapterSuite

PAGE = Path(__file__).parents[2] / "docs" / "custom-adapter.md"
ADAPTER, SUITE, USE = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.S | re.M)

# Defines FolderAdapter and TestFolderAdapter here, where pytest finds the suite.
exec(compile(ADAPTER + SUITE, str(PAGE), "exec"), globals())


def test_the_adapter_is_short():
    """The class on the page is about 30 lines of code, so a newcomer can read it at a glance."""
    body = ADAPTER[ADAPTER.index("class FolderAdapter") :]
    assert len([line for line in body.splitlines() if line.strip()]) <= 40


class TestFolderAdapterJournaled(AdapterSuite):
    """The same adapter as the page says to use it where several keys belong together."""

    keeps_nothing_open = True

    def adapter(self, place):
        return Journaled(FolderAdapter(place / "records"))  # noqa: F821 - defined on the page


def test_the_use_on_the_page_runs(tmp_path, monkeypatch):
    """The last example of the page saves and loads through the adapter, and a new opening finds it."""
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        exec(compile(USE, str(PAGE), "exec"), dict(globals()))
    names = [bytes.fromhex(file.stem).decode() for file in (tmp_path / "shared-settings").glob("*.bin")]
    assert {"theme", "size"} <= set(names)
