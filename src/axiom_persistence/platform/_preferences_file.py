"""Preferences in a JSON file of the suite's own; and, for every suite, the note of where they are kept."""

from __future__ import annotations

import base64
import binascii
import os
import time
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Final

import msgspec

from ..errors import CorruptedDataError, ForeignStoreError, StorageLockedError, from_os_error
from .filesystem import FileSystem
from .preferences import Native, Preferences, Strange, file_mark

__all__ = ["PreferencesFile"]

NAME: Final = "preferences.json"
_NEW: Final = "preferences.json.new"
_LOCK: Final = "preferences.lock"
_FLAGS: Final = sum(
    getattr(os, name, 0) for name in ("O_RDONLY", "O_NOFOLLOW", "O_NONBLOCK", "O_BINARY", "O_CLOEXEC")
)
_LOCK_WAIT_S: Final = 10.0


class PreferencesFile(Preferences):
    """``preferences.json`` in ``directory``: what kind of place the suite has, and its values if it is this.

    Strings, booleans and numbers stand there as they are, bytes as ``{"base64": "..."}``, so that the file
    can be read and edited. It is replaced as a whole, under a lock between processes that other kinds of
    preferences take, too.
    """

    kind: ClassVar[str] = "file"
    atomic: ClassVar[bool] = True
    most_integer: ClassVar[int] = (1 << 64) - 1

    def __init__(self, directory: Path, files: Callable[[Path], FileSystem]) -> None:
        self.directory: Path = directory
        self._path = str(directory / NAME)
        self._files = files

    def open(self) -> None:
        self._document()

    def close(self) -> None:
        """Nothing is kept open."""

    def recorded(self) -> str | None:
        """The kind of place that was chosen for this suite; None: none yet."""
        document = self._document()
        return None if document is None else str(document.get("backend", self.kind))

    def record(self, kind: str) -> None:
        """Note where the suite's preferences are. Under ``locked``."""
        self._replace({"axiom": "preferences", "backend": kind})

    def read(self, keys: Collection[str] | None) -> Mapping[str, Native | Strange]:
        values = (self._document() or {}).get("values", {})
        names = values if keys is None else [key for key in keys if key in values]
        return {name: _native(values[name]) for name in names}

    def write(self, changes: Mapping[str, Native | None]) -> None:
        if not changes:
            return
        document = self._document() or {"axiom": "preferences", "backend": self.kind}
        values = dict(document.get("values", {}))
        for key, value in changes.items():
            if value is None:
                values.pop(key, None)
            else:
                values[key] = _written(value)
        self._replace({**document, "values": dict(sorted(values.items()))})

    def mark(self) -> Hashable | None:
        return file_mark(self._path)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Alone among the processes that use this library, for a change of this suite."""
        files = self._files(self.directory)
        try:
            files.attach(create=True)
            try:
                handle = files.open(_LOCK, write=True, create=True)
                files.lock(handle, exclusive=True, deadline=time.monotonic() + _LOCK_WAIT_S)
                yield
            finally:
                files.detach()
        except BlockingIOError as error:
            raise StorageLockedError(
                f"another process changes the preferences in {self.directory} and does not let go",
                hint="end it, or try again",
            ) from error
        except OSError as error:
            raise from_os_error(error, f"cannot lock the preferences in {self.directory}") from error

    def _document(self) -> dict[str, Any] | None:
        """The whole file; None: there is none."""
        try:
            # As everywhere in a store, no symbolic link is followed; a FIFO keeps nobody waiting.
            with open(os.open(self._path, _FLAGS), "rb") as file:
                data = file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise from_os_error(error, f"cannot read {self._path}") from error
        try:
            document: dict[str, Any] = msgspec.json.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise CorruptedDataError(
                f"{self._path} is no JSON: {error}", hint="mend it in an editor; nothing was changed"
            ) from error
        values = document.get("values", {}) if isinstance(document, dict) else None
        if not isinstance(values, dict) or document.get("axiom") != "preferences":
            raise ForeignStoreError(
                f"{self._path} is not a file of preferences that this library made",
                hint="choose another suite, or move the file away",
            )
        return document

    def _replace(self, document: Mapping[str, Any]) -> None:
        data = msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"
        files = self._files(self.directory)
        try:
            files.attach(create=True)
            try:
                if os.path.lexists(self.directory / _NEW):
                    files.unlink(_NEW)  # of a process that was killed: we have the lock
                handle = files.create(_NEW)
                files.write(handle, data)
                files.sync(handle)
                files.close(handle)
                files.replace(
                    _NEW, NAME
                )  # which one is found after a power loss is not promised, but a whole one
            finally:
                files.detach()
        except OSError as error:
            raise from_os_error(error, f"cannot write {self._path}") from error


def _written(value: Native) -> Any:
    return {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def _native(value: Any) -> Native | Strange:
    if isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, dict) and value.keys() == {"base64"} and isinstance(value["base64"], str):
        try:
            return base64.b64decode(value["base64"], validate=True)
        except binascii.Error:
            pass  # somebody edited it
    names = {dict: "an object", list: "a list", type(None): "null"}
    return Strange(names[type(value)], msgspec.json.encode(value))
