"""The verbs that look after damaged bytes."""

import pytest

from axiom_persistence.errors import ConflictError, CorruptedDataError
from axiom_persistence.storage import Stored
from support.embedded import EMBEDDED, Kept, plant


@pytest.mark.parametrize("kind", EMBEDDED)
async def test_listed_shown_and_dropped(tmp_path, kind):
    """By its id, as the list has it; what is not there is None."""
    async with Kept(kind, tmp_path).open() as persistence:
        await persistence.save("a", 1)
        await plant(persistence, "a", b"damaged")
        await persistence.load("a", int, default=None)
        (item,) = await persistence.quarantined()
        assert (item.key, item.size, item.data) == ("a", 7, b"")
        assert (await persistence.show_quarantined(item.id)).data == b"damaged"
        with pytest.raises(CorruptedDataError, match="still cannot be read"):
            await persistence.restore_quarantined(item.id)
        assert (await persistence.drop_quarantined(item.id, dry_run=True)).id == item.id
        assert len(await persistence.quarantined()) == 1
        assert (await persistence.drop_quarantined(item.id)).key == "a"
        assert await persistence.quarantined() == []
        for verb in ("show_quarantined", "restore_quarantined", "drop_quarantined"):
            assert await getattr(persistence, verb)(item.id) is None


@pytest.mark.parametrize("kind", EMBEDDED)
async def test_what_can_be_read_again_is_put_back(tmp_path, kind):
    """Unless the key has a value by now. A namespace has its own only, by its own names."""
    async with Kept(kind, tmp_path).open() as persistence:
        one = persistence.namespace("one")
        await one.save("a", 1)
        whole = Stored(await persistence.adapter.read("one/a"), "1", "of a newer version")
        await persistence.adapter.commit(persistence.place("")[0].recovery.quarantined("one/a", whole))
        (item,) = await one.quarantined()
        assert item.key == "a"
        assert await persistence.namespace("two").quarantined() == []
        assert await persistence.namespace("two").drop_quarantined(item.id) is None
        with pytest.raises(ConflictError, match="another value"):
            await one.restore_quarantined(item.id)
        await one.delete("a")
        assert (await one.restore_quarantined(item.id)).key == "a"
        assert await one.load("a", int) == 1
        assert await persistence.quarantined() == []
