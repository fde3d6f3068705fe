"""A planted bug: who finds nothing to do finds nothing to sync."""

from axiom_persistence.storage.adapter import Durability


def nothing_to_sync(commit):
    """An adapter's ``commit`` that promises no more than before where there is nothing to write."""

    async def careless(self, changes, *, expect=None, durability=None):
        if not changes:
            durability = Durability.PROCESS_EXIT
        return await commit(self, changes, expect=expect, durability=durability)

    return careless
