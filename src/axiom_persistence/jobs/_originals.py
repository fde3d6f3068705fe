"""What records were before a migration, kept until it is final: many together, under the library's own keys.

One key holds the originals of up to a thousand records, in the commit that changed them. It begins with the
checksum of what follows: a list in MessagePack.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Final

import msgspec
from xxhash import xxh3_64_hexdigest

from ..errors import CorruptedDataError
from ..keys import INTERNAL
from ..records._subject import entry_key, tag_in
from ..records.record import INTERNAL_SCHEMA, look_at, seal_about, seal_record
from ..storage.adapter import StorageAdapter
from ..store.store import Store

__all__ = [
    "ORIGINALS",
    "Original",
    "digest",
    "erase_originals",
    "keep",
    "kept_at",
    "original_key",
    "originals_of",
    "places",
    "without",
]

ORIGINALS: Final = INTERNAL + "migrate/"

_TOGETHER_BYTES: Final = 1 << 20
_SUM: Final = 16


class Original(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a record was before a migration, and the digest of what the migration made of it."""

    key: str
    digest: str
    data: bytes | None
    """None: there was none."""
    generations: tuple[bytes, ...] | None = None
    """Those before it: one or none. None: the migration left them alone."""


def digest(data: bytes | None) -> str:
    """What tells one record's bytes from others; of none, that of no bytes: no record is empty."""
    return xxh3_64_hexdigest(data or b"")


def _begin(id: str, by_step: bool) -> str:
    """What their places begin with. What store steps changed stands apart: it goes back at once."""
    return f"{ORIGINALS}{id}/{'steps' if by_step else 'values'}/"


def original_key(id: str, key: str, *, by_step: bool = False) -> str:
    """Where the original of ``key`` is if it has a place of its own, as what is about a subject has."""
    return _begin(id, by_step) + key


async def erase_originals(adapter: StorageAdapter, id: str, prefix: str) -> None:
    """Purge the originals of keys that begin with ``prefix`` from those that are kept together."""
    for by_step in (False, True):
        async for place in adapter.keys(_begin(id, by_step)):
            stored = (await adapter.fetch((place,))).get(place)
            if stored is None or tag_in(stored.data) is not None:
                continue  # one about a subject has a place of its own, and goes with its key
            packed = stored.data[_SUM:]
            if stored.data[:_SUM] != xxh3_64_hexdigest(packed).encode():
                await adapter.purge((place,))  # damaged: no rollback can use it
                continue
            some = msgspec.msgpack.decode(packed, type=list[Original])
            left = [original for original in some if not original.key.startswith(prefix)]
            if len(left) < len(some):
                if left:
                    rest = _begin(id, by_step) + left[0].key
                    await adapter.commit({rest: _packed(left)})
                    await adapter.purge(() if rest == place else (place,), previous_of=(rest,))
                else:
                    await adapter.purge((place,))


def places(store: Store, id: str, *, by_step: bool = False) -> AsyncIterator[str]:
    """The keys under which the originals of a migration are."""
    return store.adapter.keys(_begin(id, by_step))


async def originals_of(
    store: Store,
    before: Mapping[str, bytes | None],
    after: Mapping[str, bytes | None],
    *,
    generations: bool,
) -> list[Original]:
    """The originals of records that become those of ``after``, and, where asked, what is kept before them."""
    if not generations:
        return [Original(key, digest(after[key]), data) for key, data in before.items()]
    found = await store.adapter.previous_many(list(before))
    # What a layer cannot open, it cannot put back either.
    earlier = {key: (stored.data,) for key, stored in found.items() if stored.damage is None}
    return [Original(key, digest(after[key]), data, earlier.get(key, ())) for key, data in before.items()]


def keep(
    store: Store, id: str, originals: Iterable[Original], *, by_step: bool = False
) -> dict[str, bytes | None]:
    """The changes of a commit that keep ``originals``: each key stands for those up to the next one."""
    most = min(_TOGETHER_BYTES, store.adapter.traits.max_value_bytes or _TOGETHER_BYTES)
    changes: dict[str, bytes | None] = {}
    some: list[Original] = []
    room = 0
    for original in originals:
        data = original.data or b""
        tag = tag_in(data)
        if tag is not None:
            changes |= _about(_begin(id, by_step) + original.key, original, tag)
            continue
        size = 64 + 4 * len(original.key) + len(data) + sum(map(len, original.generations or ()))
        if some and size > room:
            changes[_begin(id, by_step) + some[0].key] = _packed(some)
            some = []
        if not some:
            room = most
        room -= size
        some.append(original)
    if some:
        changes[_begin(id, by_step) + some[0].key] = _packed(some)
    return changes


def _about(place: str, original: Original, tag: str) -> dict[str, bytes | None]:
    """One that is about a subject: a record about them as well, so that who erases them erases it."""
    generations = original.generations
    if generations is not None:
        generations = tuple(data for data in generations if tag_in(data) == tag)
    packed = _packed([Original(original.key, original.digest, original.data, generations)])
    record = seal_record(place, msgspec.json.encode(packed), INTERNAL_SCHEMA)
    entry = entry_key(tag, place)
    return {
        place: seal_about(place, record, tag),
        entry: seal_record(entry, b"true", INTERNAL_SCHEMA),
    }


def without(place: str, data: bytes) -> dict[str, bytes | None]:
    """The changes of a commit that forget the originals in ``data``."""
    tag = tag_in(data)
    return {place: None} if tag is None else {place: None, entry_key(tag, place): None}


def _packed(originals: list[Original]) -> bytes:
    data = msgspec.msgpack.encode(originals)
    return xxh3_64_hexdigest(data).encode() + data


def kept_at(store: Store, place: str, data: bytes) -> list[Original]:
    """The originals in ``data``, which is stored under ``place``. Raises ``CorruptedDataError``."""
    if tag_in(data) is not None:
        record, _, _ = look_at(place, data, INTERNAL_SCHEMA)
        data = b"" if record is None else msgspec.json.decode(record.value, type=bytes)
    packed = data[_SUM:]
    if data[:_SUM] == xxh3_64_hexdigest(packed).encode():
        return msgspec.msgpack.decode(packed, type=list[Original])
    raise CorruptedDataError(
        "the originals that a migration kept, from this key on, are damaged",
        key=place.split("/", 3)[3],
        adapter=store.adapter,
        hint="restore a snapshot; or call finalize, then rollback goes back by the down of each step",
    )
