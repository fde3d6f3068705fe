"""Which devices meet at one place: each leaves a record there that says when it last did."""

from __future__ import annotations

from typing import Final

import msgspec

from ..layers.tracked import SYNC
from ..records.record import INTERNAL_SCHEMA, look_at, seal_record
from ..storage.adapter import StorageAdapter

__all__ = ["SyncDevice", "forget_device", "known_device", "listed_devices", "sealed_device"]

_DEVICES: Final = SYNC + "device/"
_DAY_S: Final = 86400.0


class SyncDevice(msgspec.Struct, frozen=True):
    """A device that has been where the others meet."""

    id: str
    """8 hex digits, which no other device has."""
    name: str
    """The name of its machine."""
    last_met: float
    """When it last sent something, in seconds since 1970 UTC; up to a day early if it only takes over."""

    def is_as_told(self, known: SyncDevice | None) -> bool:
        """Whether ``known``, which is told of it, is less than a day old."""
        return known is not None and known.name == self.name and abs(self.last_met - known.last_met) < _DAY_S


def sealed_device(device: SyncDevice) -> dict[str, bytes]:
    """What a commit at the remote changes to tell of ``device``."""
    where = _DEVICES + device.id
    return {where: seal_record(where, msgspec.json.encode(device), INTERNAL_SCHEMA)}


async def known_device(remote: StorageAdapter, device: str) -> SyncDevice | None:
    """What the remote tells of ``device``; None: nothing that can be read."""
    where = _DEVICES + device
    stored = (await remote.fetch((where,))).get(where)
    record = None if stored is None else look_at(where, stored.data, INTERNAL_SCHEMA)[0]
    if record is None:
        return None  # a damaged one is written anew when its device meets the others
    return msgspec.json.decode(record.value, type=SyncDevice)


async def listed_devices(remote: StorageAdapter) -> list[SyncDevice]:
    """All of them, the one that was last there first."""
    names = [name[len(_DEVICES) :] async for name in remote.keys(_DEVICES)]
    found = [await known_device(remote, name) for name in names]
    return sorted((one for one in found if one is not None), key=lambda one: -one.last_met)


async def forget_device(remote: StorageAdapter, device: str) -> bool:
    """Take it from the list. False: it is not there."""
    where = _DEVICES + device
    if not await remote.exists(where):
        return False
    await remote.commit({where: None})
    return True
