"""dconf, where GNOME and what belongs to it keep preferences: read from its file, written by its service."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Collection, Hashable, Mapping
from typing import ClassVar, Final

from ..errors import AccessDeniedError, StorageError, StorageUnavailableError
from ._bus import Bus, BusError
from ._gvariant import Database, changeset
from .preferences import Native, Preferences, Strange, escaped, file_mark, plain

__all__ = ["Dconf"]

_SERVICE: Final = "ca.desrt.dconf"
_WRITER: Final = "ca.desrt.dconf.Writer"
_UNSAFE: Final = re.compile(rb"[^A-Za-z0-9._/-]")


class Dconf(Preferences):
    """The keys directly below ``/org/example/notes/`` for the suite ``org.example.notes``.

    A slash of a key is a ``:`` there, since a path could be another suite's; what is not ASCII letters,
    digits, ``.``, ``_`` or ``-`` is ``%XX``. Names of another form, which other programs may write, are not
    seen. Reads the user's own database only, and needs no bus for that.
    """

    kind: ClassVar[str] = "dconf"
    atomic: ClassVar[bool] = True

    def __init__(self, suite: str) -> None:
        self._directory = f"/{suite.replace('.', '/')}/"
        self._database = _user_database()
        config = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
        self._file = os.path.join(config, "dconf", self._database)
        self._place = (_SERVICE, f"/ca/desrt/dconf/Writer/{self._database}", _WRITER)
        self._bus: Bus | None = None
        self._told = 0
        self._is_proven = False

    def open(self) -> None:
        self.read(())
        try:
            self._connected()
        except BusError:
            pass  # it can be read without; writing says what is missing

    def close(self) -> None:
        bus, self._bus, self._is_proven = self._bus, None, False
        if bus is not None:
            bus.close()

    def is_offered(self) -> bool:
        """Whether a service would take what is written."""
        try:
            return self._connected().has(_SERVICE)
        except BusError:
            return False

    def read(self, keys: Collection[str] | None) -> Mapping[str, Native | Strange]:
        try:
            with open(self._file, "rb") as file:
                data = file.read()
        except FileNotFoundError:
            return {}
        except PermissionError as error:
            raise AccessDeniedError(
                f"the dconf database {self._file} may not be read", hint="check its owner and mode"
            ) from error
        try:
            return self._found(Database(data), keys) if data else {}
        except (ValueError, struct.error) as error:
            raise StorageError(
                f"the dconf database {self._file} cannot be read: {error}",
                hint="put a copy in its place, or move it away: dconf then begins an empty one",
            ) from error

    def _found(self, database: Database, keys: Collection[str] | None) -> dict[str, Native | Strange]:
        if keys is not None:
            values = {key: database.get(self._path(key)) for key in keys}
            return {key: value for key, value in values.items() if value is not None}
        named = ((_key_of(name), value) for name, value in database.below(self._directory))
        return {key: value for key, value in named if key is not None}

    def write(self, changes: Mapping[str, Native | None]) -> None:
        if not changes:
            return
        body = changeset({self._path(key): value for key, value in changes.items()})
        try:
            try:
                self._connected().call(self._place, "Change", "ay", body)
            except BusError as error:
                if error.name:
                    raise
                self.close()  # the bus was restarted
                self._connected().call(self._place, "Change", "ay", body)
        except BusError as error:
            raise _refusal(error) from error
        if not self._is_proven and self.read(changes) != {k: v for k, v in changes.items() if v is not None}:
            raise StorageUnavailableError(
                f"dconf's service took the change, and {self._file} does not show it",
                hint="does the service run with another HOME or XDG_CONFIG_HOME?",
            )
        self._is_proven = True

    def mark(self) -> Hashable | None:
        """The file's own, and how many changes the service has told: a file of a server is known late."""
        bus = self._bus
        if bus is not None:
            try:
                self._told += len(bus.signals())
            except BusError:
                self.close()  # the next change connects anew
        return file_mark(self._file), self._told

    def _connected(self) -> Bus:
        if self._bus is None:
            bus = Bus("session")
            bus.listen(interface=_WRITER, path=self._place[1], below=self._directory)
            self._bus = bus
        return self._bus

    def _path(self, key: str) -> str:
        return self._directory + _name_of(key)


def _name_of(key: str) -> str:
    return escaped(key, _UNSAFE).replace("/", ":")


def _key_of(name: str) -> str | None:
    try:
        key = plain(name.replace(":", "/"))
    except UnicodeDecodeError:
        return None
    return key if _name_of(key) == name else None


def _user_database() -> str:
    """The name of the user's database, by the profile in force."""
    profile = os.environ.get("DCONF_PROFILE") or "user"
    folders = os.environ.get("XDG_DATA_DIRS", "/usr/local/share:/usr/share").split(":")
    places = ["/etc/dconf/profile", *(f"{folder}/dconf/profile" for folder in folders)]
    for place in places:
        try:
            with open(os.path.join(place, profile), encoding="utf-8") as file:
                lines = [line.partition("#")[0].strip() for line in file]
        except OSError:
            continue
        first = next((line for line in lines if line), "")
        kind, _, name = first.partition(":")
        if kind == "user-db" and re.fullmatch(r"[A-Za-z0-9_]+", name):
            return name
        raise StorageUnavailableError(
            f"the dconf profile {profile!r} has no database that this user may write to",
            hint="UserDefaultsAdapter(suite, backend='file') keeps preferences in a file",
        )
    return "user"


def _refusal(error: BusError) -> StorageError:
    if error.is_absence:
        return StorageUnavailableError(
            f"dconf's service cannot be reached: {error}",
            hint="preferences can be read, and are changed in a desktop session or under dbus-run-session",
        )
    if error.name.endswith(("AccessDenied", "AuthFailed")):
        return AccessDeniedError(f"dconf's service refused: {error}", hint="is dconf locked down here?")
    return StorageError(f"dconf's service refused: {error}", hint="is there room in the home directory?")
