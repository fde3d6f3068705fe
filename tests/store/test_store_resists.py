"""Records that cannot be read, and what fails around them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from axiom_persistence import MemoryAdapter, open_persistence
from axiom_persistence.errors import SchemaTooNewError, StorageError
from axiom_persistence.storage.adapter import Changes, Durability, Expect

NEWER = b'{"axiom":9,"sum":"0000000000000000","schema":"1.0","value":1}'


class _Refusing(MemoryAdapter):
    refuses = False

    async def commit(
        self, changes: Changes, *, expect: Expect | None = None, durability: Durability | None = None
    ) -> dict[str, str]:
        if self.refuses:
            raise StorageError("the medium refused")
        return dict(await super().commit(changes, expect=expect, durability=durability))


async def test_a_deletion_that_fails_does_not_open_the_way_for_an_overwrite() -> None:
    """What is too new is still not overwritten after deleting it did not succeed."""
    adapter = _Refusing()
    async with open_persistence(adapter) as persistence:
        await persistence.save("other", 1)
        await adapter.commit({"newer": NEWER})
        with pytest.raises(SchemaTooNewError):
            await persistence.load("newer", int)
        adapter.refuses = True
        with pytest.raises(StorageError):
            await persistence.delete("newer")
        adapter.refuses = False
        with pytest.raises(SchemaTooNewError):
            await persistence.save("newer", 2)
        assert (await adapter.fetch(["newer"]))["newer"].data == NEWER
        assert await persistence.delete("newer")
        await persistence.save("newer", 3)
        assert await persistence.load("newer", int) == 3


@pytest.mark.parametrize("odd", ["fifo", "symlink"])
async def test_verify_reports_what_is_no_file_and_goes_on(tmp_path: Path, odd: str) -> None:
    """Something else in the place of a value's file is one finding; all other records are checked."""
    async with open_persistence(tmp_path / "store") as persistence:
        await persistence.save_many({"a": 1, "b": 2, "c": 3})
        file = tmp_path / "store" / "b.json"
        file.unlink()
        if odd == "fifo":
            os.mkfifo(file)
        else:
            file.symlink_to("a.json")
        report = await persistence.verify()
        assert not report
        assert report.medium
        assert report.records >= 3
        assert {finding.key for finding in report.findings} <= {"b"}
        # Nor is it overwritten in silence.
        with pytest.raises(StorageError, match="neither followed nor replaced") as refused:
            await persistence.save("b", 4)
        assert refused.value.key == "b"
        file.unlink()
        await persistence.save("b", 4)
        assert await persistence.load("b", int) == 4
        assert not (await persistence.verify()).findings
