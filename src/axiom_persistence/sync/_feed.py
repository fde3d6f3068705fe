"""A remote's own word that something has changed there, where it gives one."""

from __future__ import annotations

from typing import Final

from ..storage.adapter import StorageAdapter
from ..storage.changelog import ChangeLog
from ..storage.layer import Layer

__all__ = ["Feed"]

_LOOK_S: Final = 0.2
"""How often it is looked whether anybody wants to know."""


class Feed:
    """Listens to the change log of ``remote``, where it has one. It only ever says that a look is worth it.

    Whatever happens to it, looking every now and then goes on: it saves time and protects nothing.
    """

    def __init__(self, remote: StorageAdapter, pause: float) -> None:
        """``pause``: seconds after which the log is read, though nobody has told anything."""
        self._log = _log_of(remote)
        self._pause = pause
        self._mark: str | None = None
        self._has_news = False
        self.is_wanted: bool = False
        """Whether the network may be used for it now."""
        self.is_up: bool = False
        """Whether the log could be read when it was tried last."""

    def take_news(self) -> bool:
        """Whether there is anything new since this was asked last; also that it broke, or works again."""
        has_news, self._has_news = self._has_news, False
        return has_news

    async def listen(self) -> float | None:
        """Read the log and wait for more; a chore, see ``Upkeep``."""
        log = self._log
        if log is None:
            return None
        if not self.is_wanted:
            self._mark, self.is_up = None, False
            return _LOOK_S
        try:
            found = await log.changed(self._mark)
            self._tell(is_up=True, is_new=found.keys is None or bool(found.keys))
            self._mark = found.mark
            await log.wait_for_change(self._pause)
        except Exception:
            # Whatever it is: the meeting that follows meets it as well, and ``status`` tells.
            self._tell(is_up=False, is_new=False)
            return self._pause
        return 0.0

    def _tell(self, *, is_up: bool, is_new: bool) -> None:
        self._has_news = self._has_news or is_new or is_up != self.is_up
        self.is_up = is_up


def _log_of(adapter: StorageAdapter) -> ChangeLog | None:
    """Also below a layer that gives keys other names: that something has changed holds there all the same."""
    log = adapter.find(ChangeLog)  # type: ignore[type-abstract]
    while log is None and isinstance(adapter, Layer):
        adapter = adapter.inner
        log = adapter.find(ChangeLog)  # type: ignore[type-abstract]
    return log
