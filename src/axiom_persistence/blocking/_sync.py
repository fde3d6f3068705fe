"""Synchronisation for threads that wait."""

from __future__ import annotations

from typing import Final

from ..sync.synchroniser import SyncEvent, SyncStatus
from ..sync.synchroniser import Synchroniser as _Synchroniser
from ._streams import Stream
from ._waiting import Face, waiting

__all__ = ["Synchroniser"]


class Synchroniser(Face[_Synchroniser]):
    """``axiom_persistence.sync.Synchroniser`` without ``await``: see there for what each method promises."""

    now: Final = waiting(_Synchroniser.now)
    pause: Final = waiting(_Synchroniser.pause)
    resume: Final = waiting(_Synchroniser.resume)
    devices: Final = waiting(_Synchroniser.devices)
    forget: Final = waiting(_Synchroniser.forget)
    conflicts: Final = waiting(_Synchroniser.conflicts)
    take_back: Final = waiting(_Synchroniser.take_back)

    @property
    def status(self) -> SyncStatus:
        """How far this device is."""
        return self.inner.status

    def events(self, *, timeout: float | None = None) -> Stream[SyncEvent]:
        """The status, each later one, and each conflict; the loop ends ``timeout`` seconds after the last."""
        return Stream(self.inner.events(), timeout)
