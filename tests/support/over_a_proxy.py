"""What holds of the adapter of every server, whatever happens on the way to the server and back."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from axiom_persistence import ConflictError, StorageUnavailableError
from axiom_persistence.testing import TCPProxy


def proxies(at, prepare=lambda adapter: None):
    """``proxied`` for the adapters that ``at(port, place, **options)`` makes."""

    @asynccontextmanager
    async def proxied(server, place, **options):
        """A proxy before the server, and an open adapter behind it."""
        async with TCPProxy("127.0.0.1", server.port) as proxy, at(proxy.port, place, **options) as adapter:
            prepare(adapter)
            yield proxy, adapter

    return proxied


class OverAProxy:
    """To be derived from, with fixtures ``server`` and ``place``, the name of a store there."""

    at = None
    proxied = None
    cuts = range(0)
    """After how many bytes a connection is cut, one after the other."""

    async def begin(self, proxy, adapter):
        """Have the adapter do what it does only the first time."""
        await adapter.commit({"b": b"0"}, expect={"a": None})

    async def applied(self, server, place):
        """How many commits the server has noted."""
        raise NotImplementedError

    async def test_a_late_original_is_refused(self, server, place):
        """It comes when its second copy has met a conflict, though what it expects is true again by then."""
        async with self.proxied(server, place) as (proxy, adapter), self.at(server.port, place) as other:
            await self.begin(proxy, adapter)
            holding = proxy.hold_request()
            commit = asyncio.create_task(adapter.commit({"a": b"mine"}, expect={"a": None}))
            held = await holding
            proxy.freeze()
            await other.commit({"a": b"theirs"})
            proxy.thaw()
            with pytest.raises(ConflictError):
                await commit
            await other.commit({"a": None})
            await held.release()
            assert await other.read("a") is None
            await adapter.commit({"a": b"again"}, expect={"a": None})

    async def test_what_was_given_up_does_not_come_late(self, server, place):
        """A blind save that nobody knows the end of, and one after it that is acknowledged and stays."""
        async with self.proxied(server, place, timeout=0.5) as (proxy, adapter):
            await adapter.commit({"a": b"0"})
            holding = proxy.hold_request()
            commit = asyncio.create_task(adapter.commit({"a": b"1"}))
            held = await holding
            proxy.freeze()
            with pytest.raises(StorageUnavailableError, match="may be there or not") as refusal:
                await commit
            assert refusal.value.indeterminate
            proxy.thaw()
            while True:
                try:
                    await adapter.commit({"a": b"2"})
                    break
                except StorageUnavailableError:
                    continue  # half a second is short on a busy machine
            await held.release()
            assert await adapter.read("a") == b"2"

    @pytest.mark.parametrize("toward", ["server", "client"])
    async def test_a_connection_cut_at_any_byte(self, server, place, toward):
        """A commit and a fetch go through, wherever the connection breaks."""
        async with self.proxied(server, place) as (proxy, adapter):
            for n, size in enumerate(self.cuts):
                proxy.cut_after(size, toward)
                await adapter.commit({"a": b"%d" % n, "b": b"%d" % n})
                found = await adapter.fetch(["a", "b"])
                assert {stored.data for stored in found.values()} == {b"%d" % n}
        assert await self.applied(server, place) == len(self.cuts)

    async def test_a_frozen_server_is_waited_for(self, server, place):
        """What was sent meanwhile is done once, when it goes on."""
        async with self.proxied(server, place) as (proxy, adapter):
            version = (await adapter.commit({"a": b"0"}))["a"]
            proxy.freeze()
            commit = asyncio.create_task(adapter.commit({"a": b"1"}, expect={"a": version}))
            read = asyncio.create_task(adapter.read("b"))
            await asyncio.sleep(0.1)
            assert not commit.done()
            proxy.thaw()
            await commit
            assert await read is None
            assert await adapter.read("a") == b"1"
