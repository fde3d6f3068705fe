"""Which device a store is: what it is called, for as long as it is in the place where it got that name."""

from __future__ import annotations

import hashlib
import socket
from typing import Final

import msgspec

from ..layers.tracked import SYNC
from ..records.record import INTERNAL_SCHEMA, look_at, seal_record
from ..records.stamp import new_device
from ..storage.adapter import StorageAdapter
from ..store.store import Store

__all__ = ["identity", "remember"]

_DEVICE: Final = SYNC + "device"


class _StoredDevice(msgspec.Struct):
    id: str
    name: str
    place: str


async def identity(adapter: StorageAdapter) -> tuple[str, bool]:
    """The id of the device; and whether it has none yet, or is a copy of the one that had it."""
    stored = (await adapter.fetch((_DEVICE,))).get(_DEVICE)
    record = None if stored is None else look_at(_DEVICE, stored.data, INTERNAL_SCHEMA)[0]
    if record is not None:
        known = msgspec.json.decode(record.value, type=_StoredDevice)
        if known.place == _place(adapter):
            return known.id, False
    return new_device(), True


async def remember(store: Store, name: str) -> None:
    """Keep it in the store."""
    value = msgspec.json.encode(_StoredDevice(name, socket.gethostname(), _place(store.adapter)))
    await store.commit({_DEVICE: seal_record(_DEVICE, value, INTERNAL_SCHEMA)})


def _place(adapter: StorageAdapter) -> str:
    """What tells this machine and this store from a copy."""
    try:
        with open("/etc/machine-id", encoding="ascii") as file:
            machine = file.read().strip()
    except OSError:
        machine = socket.gethostname()  # no such file here: the next best that stays
    return hashlib.sha256(f"{machine}\0{adapter.location}".encode()).hexdigest()[:16]
