"""Mistakes that an interrupt must bring to light."""

import threading

from axiom_persistence.adapters._sqlite import commits
from axiom_persistence.adapters._sqlite.lock import WriteLock
from axiom_persistence.runtime.turn import Holder

from .harness import WATCHDOG

SHORT_S = 6.0


class _Acquired:
    """Taken by ``acquire`` and given back by ``release``, in Python code."""

    def __init__(self):
        self._lock = threading.Lock()
        self.acquire, self.release, self.locked = self._lock.acquire, self._lock.release, self._lock.locked

    def __enter__(self):
        self._lock.acquire()
        return self

    def __exit__(self, *_):
        self._lock.release()


class _LeakyLock(WriteLock):
    def __init__(self):
        super().__init__()
        self.inner = _Acquired()


def lock_not_healed():
    commits.WriteLock = _LeakyLock
    WATCHDOG.patience = SHORT_S


def turn_not_healed():
    Holder.has_left = lambda self: False
    WATCHDOG.patience = SHORT_S


PLANTED = {"lock": lock_not_healed, "turn": turn_not_healed}
