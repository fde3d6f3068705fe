"""What others may put into the directory of a file store."""

import pytest

from axiom_persistence import open_persistence
from axiom_persistence.errors import StorageError


@pytest.mark.parametrize("stray", ["b.json", "b.json~"])
async def test_a_directory_in_place_of_a_value_blocks_that_key_only(tmp_path, stray):
    """A commit that could never be finished is refused before it is decided; the other keys go on."""
    place = tmp_path / "store"
    async with open_persistence(place) as persistence:
        await persistence.save_many({"a": 1, "c": 1})
        (place / stray).mkdir()
        with pytest.raises(StorageError, match="directory") as refused:
            await persistence.save_many({"a": 2, "b": 2})
        assert refused.value.key == "b"
        assert await persistence.load("a", int) == 1
        await persistence.save_many({"a": 3, "c": 3})
    async with open_persistence(place) as persistence:
        assert await persistence.load_many(["a", "c"], int) == {"a": 3, "c": 3}
