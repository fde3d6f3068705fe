"""Looking into an audit trail behind the back of the layer that keeps it."""

import msgspec

from axiom_persistence.security._seals import NEW, SEALED, Entry, Sealed, json_in


async def sealed_in(adapter):
    """The batches, by their key."""
    keys = [key async for key in adapter.keys(SEALED)]
    found = await adapter.fetch(keys)
    return {key: msgspec.json.decode(json_in(key, found[key].data), type=Sealed) for key in keys}


async def found_in(adapter):
    """All entries: those that are sealed, then those that are not."""
    raw = [entry for sealed in (await sealed_in(adapter)).values() for entry in sealed.entries]
    keys = [key async for key in adapter.keys(NEW)]
    found = await adapter.fetch(keys)
    raw += [json_in(key, found[key].data) for key in keys]
    return [msgspec.json.decode(entry, type=Entry) for entry in raw]


def changed_keys(entries):
    """What they say was changed, the library's own records aside, in their order."""
    return [key for entry in entries for key in (*entry.saved, *entry.deleted) if key[0] != "\x01"]
