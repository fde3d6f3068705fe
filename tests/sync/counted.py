"""A place where devices meet that counts what is asked of it, and can be cut off."""

from collections import Counter

from axiom_persistence.errors import StorageUnavailableError
from axiom_persistence.storage.layer import Layer


class Counted(Layer):
    """Counts requests, and how many keys and bytes the largest of each kind had."""

    def __init__(self, inner):
        super().__init__(inner)
        self.requests = Counter()
        self.most = Counter()
        self.bytes = 0
        self.cut_after = None

    def _request(self, kind, keys):
        self.requests[kind] += 1
        self.most[kind] = max(self.most[kind], keys)
        if self.cut_after is not None and self.requests.total() > self.cut_after:
            raise StorageUnavailableError("the network was cut off by the test")

    def forget(self):
        """Count anew."""
        self.requests.clear()
        self.most.clear()
        self.bytes = 0

    async def fetch(self, keys):
        self._request("fetch", len(keys))
        found = await self.inner.fetch(keys)
        self.bytes += sum(len(stored.data) for stored in found.values())
        return found

    async def commit(self, changes, *, expect=None, durability=None):
        self._request("commit", len(changes))
        self.bytes += sum(len(data or b"") for data in changes.values())
        return await self.inner.commit(changes, expect=expect, durability=durability)

    async def keys(self, prefix="", *, after=None, limit=None, reverse=False):
        self._request("keys", 0)
        async for key in self.inner.keys(prefix, after=after, limit=limit, reverse=reverse):
            yield key
