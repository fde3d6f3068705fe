"""A module outside the package adds an adapter, a layer and a job with what the page says alone."""

import importlib
import re
import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from axiom_persistence import open_persistence
from axiom_persistence.errors import StorageFullError
from axiom_persistence.testing import AdapterSuite

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.S | re.M)
PUBLIC = {f"axiom_persistence{name}" for name in ("", ".errors", ".jobs.walk", ".keys", ".storage")}


@pytest.fixture(scope="module")
def probe(tmp_path_factory):
    """The page's code as a module of somebody else."""
    place = tmp_path_factory.mktemp("elsewhere")
    (place / "axiom_probe.py").write_text(
        "\n".join(BLOCKS[:3]) + "\n\ndef open_dict(rest, *, inspect):\n    return DictAdapter()\n"
    )
    sys.path.insert(0, str(place))
    yield importlib.import_module("axiom_probe")
    sys.path.remove(str(place))
    del sys.modules["axiom_probe"]


def test_the_page_needs_public_modules_only():
    """What an author imports is in the list at the head of the page."""
    used = set(re.findall(r"^from (axiom_persistence[\w.]*) import", "\n".join(BLOCKS), re.M))
    assert used == PUBLIC


def test_the_page_runs_from_top_to_bottom(tmp_path):
    """Its blocks, one after the other, are a program."""
    program = tmp_path / "together.py"
    program.write_text("\n".join(BLOCKS))
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=60, check=True)
    refused, sizes = done.stdout.splitlines()
    assert "at most 200 fit" in refused
    assert "notes/3" in refused
    assert sizes == "['notes', 'theme']"


class TestProbeAdapter(AdapterSuite):
    """The adapter keeps every promise of the contract."""

    kept = {}

    @pytest.fixture(autouse=True)
    def _probe(self, probe):
        self.module = probe

    def adapter(self, place):
        # It forgets when it is dropped: one for each place, as a test opens it again.
        return self.kept.setdefault(str(place), self.module.DictAdapter())


class TestProbeLayer(TestProbeAdapter):
    """The layer forwards what it does not change."""

    kept = {}

    def adapter(self, place):
        return self.module.Limited(super().adapter(place), 1 << 24)


async def test_the_adapter_has_an_address(probe, monkeypatch):
    """With its entry point, a URL opens it."""
    entry = EntryPoint("dict", "axiom_probe:open_dict", "axiom_persistence.adapters")
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: EntryPoints([entry]))
    async with open_persistence("dict:") as persistence:
        await persistence.save("k", 1)
        assert await persistence.load("k", int) == 1
        assert "DictAdapter" in repr(persistence)


async def test_the_layer_refuses_on_both_ways(probe):
    """A client's assignment goes another way than a save, and is refused just as well."""
    async with open_persistence(probe.Limited(probe.DictAdapter(), 200)) as persistence:
        with pytest.raises(StorageFullError, match="at most 200"):
            await persistence.save("k", "x" * 300)
        with pytest.raises(StorageFullError, match="at most 200"):
            persistence.adapter.commit_now({"k": bytes(300)})


async def test_the_job_goes_on_where_it_ended(probe):
    """The parts of a walk together see every record once, and progress is told."""
    async with open_persistence(probe.DictAdapter()) as persistence:
        await persistence.save_many({f"{kind}/{n}": n for kind in ("a", "b") for n in range(3)})
        told = []
        whole = await probe.count_sizes(persistence, progress=told.append)
        assert {so_far.done for so_far in told} == {6}
        rest = await probe.count_sizes(persistence, after="a/2")
        assert rest == {"b": whole["b"]}
