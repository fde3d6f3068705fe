"""Hidden names of keys, as the adapter that they are."""

import asyncio

from axiom_persistence.adapters.memory import MemoryAdapter
from axiom_persistence.storage.layer import Layer
from axiom_persistence.sync._hidden import Hidden
from axiom_persistence.testing import AdapterSuite


class TestHidden(AdapterSuite):
    """Every promise of an adapter, under other names."""

    def adapter(self, place):
        return Hidden(MemoryAdapter())


class Together(Layer):
    """Both look before one of them writes."""

    async def fetch(self, keys):
        found = await self.inner.fetch(keys)
        await asyncio.sleep(0.01)
        return found


async def test_two_devices_that_begin_at_once_take_one_key():
    """The slower one once raised that somebody else had written."""
    place = MemoryAdapter()
    one, other = Hidden(Together(place)), Hidden(Together(place))
    await asyncio.gather(one.aopen(), other.aopen())
    await one.write("note", b"1")
    assert await other.exists("note")
    assert [key async for key in other.keys("")] == ["note"]
