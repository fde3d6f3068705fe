"""The receipt of an erasure, and whether a store agrees with one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

import msgspec

from ..errors import ConfigurationError, CorruptedDataError, from_os_error
from ..runtime.threads import in_thread
from ..store.store import Store
from ._erasures import Mark, marks
from ._scrub import Scrub

__all__ = ["Erased", "Receipt", "id_of", "part_of", "read_receipt", "verify_receipt"]

_MOST_BYTES: Final = 1 << 20


class Erased(msgspec.Struct, frozen=True):
    """One store's part in a receipt."""

    store: str
    """The id of the store."""
    tag: str
    """What was erased is known by this: a hash of the name, and a number."""
    id: str
    """Of this erasure, drawn at random."""
    records: int
    begun: float
    ended: float
    """Seconds since 1970 UTC."""


class Receipt(msgspec.Struct, frozen=True):
    """What proves an erasure: the store it was in agrees with every word of it, or it is refused."""

    erased: list[Erased]
    """The store, and the one for secrets beside it."""
    axiom_erasure: int = 1
    """The format."""

    def to_json(self) -> bytes:
        return msgspec.json.format(msgspec.json.encode(self)) + b"\n"


async def read_receipt(source: str | os.PathLike[str] | bytes) -> bytes:
    """The JSON of a receipt that is at the path ``source``, or that it is."""
    if isinstance(source, bytes):
        return source
    path = os.fspath(source)

    def read() -> bytes:
        with open(path, "rb") as file:
            return file.read(_MOST_BYTES)

    try:
        return await in_thread(read)
    except OSError as error:
        raise from_os_error(error, "cannot read the receipt", adapter=path) from error


async def id_of(store: Store) -> str:
    await store.look()
    return "" if store.header is None else store.header.id


def part_of(store: str, mark: Mark) -> Erased:
    tag, erasure, _ = mark
    return Erased(store, tag, erasure.id, erasure.records or 0, erasure.begun, erasure.ended or 0)


async def verify_receipt(stores: Sequence[Store], data: bytes, name: str | None = None) -> Receipt:
    """The receipt in ``data``, if these stores agree with it and nothing that it says was erased is here.

    ``name``: the hash of whom or what it must be about. Raises ``ConfigurationError`` for what is no receipt,
    one of another store or about somebody else, and ``CorruptedDataError`` for one that was altered, and
    where records that were erased are here.
    """
    try:
        receipt = msgspec.json.decode(data, type=Receipt)
        if not receipt.erased or receipt.axiom_erasure != 1:
            raise ValueError
    except (ValueError, UnicodeDecodeError):  # msgspec's own are ValueErrors, too
        raise ConfigurationError(
            "this is no receipt of an erasure",
            adapter=stores[0].adapter,
            hint="give what `erase` has written, unchanged",
        ) from None
    ours = {await id_of(store): store for store in stores}
    for part in receipt.erased:
        if part.store not in ours:
            raise ConfigurationError(
                "the receipt is of another store",
                adapter=stores[0].adapter,
                hint="open the store that the data was erased from",
            )
        if name is not None and part.tag[:32] != name:
            raise ConfigurationError(
                "the receipt is about somebody else",
                adapter=stores[0].adapter,
                hint="give the name that was erased, as it was given then",
            )
        await _confirm(ours[part.store], part)
    return receipt


async def _confirm(store: Store, part: Erased) -> None:
    mark = None
    async for found in marks(store, part.tag):
        mark = found
    if mark is None or mark.erasure.ended is None or part_of(part.store, mark) != part:
        raise CorruptedDataError(
            "the store does not agree with the receipt: one of them was altered",
            adapter=store.adapter,
            hint="erase the same once more: that gives the receipt again",
        )
    if mark.erasure.length is None:
        async for _ in Scrub(part.tag, None).keys(store.adapter):
            raise CorruptedDataError(
                "records that were erased are here again",
                adapter=store.adapter,
                hint="somebody put an old copy in the place of the store: erase the same once more",
            )
