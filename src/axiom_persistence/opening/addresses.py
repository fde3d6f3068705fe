"""What an address means: the kind of a store, and its place."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from ..errors import ConfigurationError, shown
from ..storage.adapter import StorageAdapter

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["Address", "Where", "adapter_for", "address_of"]

ENTRY_POINTS: Final = "axiom_persistence.adapters"
"""Where other distributions register a scheme: name = scheme, value = ``f(rest, *, inspect) -> adapter``."""

_DATABASE: Final = (".db", ".sqlite", ".sqlite3")
_FILE_LIKE: Final = (
    *(".json", ".jsonl", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".conf", ".txt", ".xml", ".plist", ".csv"),
    *(".pickle", ".pkl", ".dat", ".bin", ".shelve"),
)

Where = str | os.PathLike[str] | StorageAdapter


class Address(NamedTuple):
    """Where a store is, before anything is looked at."""

    kind: str
    """``application``, ``sqlite``, ``file``, ``file+documents``, ``memory``, ``keychain``, ``defaults``,
    ``icloud``, ``postgresql``, ``redis``, ``rediss``, ``s3``, ``az``, ``gs``, or a scheme from elsewhere."""
    place: str
    """A name for ``application``, ``file+documents``, ``keychain`` and ``defaults``, a path for ``sqlite``
    and ``file``, nothing for ``memory`` and ``icloud``; else what stands behind the scheme."""


def adapter_for(where: Where, *, inspect: bool = False, exclusive: bool = False) -> StorageAdapter:
    """The adapter that ``where`` names. Nothing is opened or created yet.

    ``inspect``: it refuses to write. ``exclusive``: no other process may use it, which is for SQLite. Raises
    ``ConfigurationError`` for an invalid address.
    """
    if isinstance(where, StorageAdapter):
        if exclusive:
            raise ConfigurationError(
                "exclusive=True is for an address; this adapter is made already",
                adapter=where,
                hint="leave it out, or give it to the adapter: SQLiteAdapter(path, exclusive=True)",
            )
        return _only_read(where) if inspect else where
    kind, place = address_of(where)
    if kind == "application":
        kind, place = "sqlite", _application_place(place, inspect=inspect)
    if kind == "sqlite":
        from ..adapters.sqlite import SQLiteAdapter

        return SQLiteAdapter(place, inspect=inspect, exclusive=exclusive)
    if exclusive:
        raise ConfigurationError(
            f"exclusive=True is for a SQLite file, and {os.fspath(where)!r} names a store of another kind",
            hint="leave it out, or choose a path that ends in .db",
        )
    make = _MAKERS.get(kind)
    return _made_elsewhere(kind, place, inspect=inspect) if make is None else make(place, inspect)


def _application_place(name: str, *, inspect: bool) -> str:
    from ..platform.places import application_directory, check_writable

    directory = application_directory(name)
    if not inspect:
        check_writable(directory, name)
    return str(directory / "state.db")


# Each adapter is imported by the first program that names it.


def _directory(place: str, inspect: bool) -> StorageAdapter:
    from ..adapters.file import FileStorageAdapter

    return FileStorageAdapter(place, inspect=inspect)


def _file_in_documents(place: str, inspect: bool) -> StorageAdapter:
    from ..adapters.file import FileStorageAdapter

    return FileStorageAdapter.in_documents(place, inspect=inspect)


def _memory(_: str, inspect: bool) -> StorageAdapter:
    from ..adapters.memory import MemoryAdapter

    return _only_read(MemoryAdapter()) if inspect else MemoryAdapter()


def _keychain(place: str, inspect: bool) -> StorageAdapter:
    from ..adapters.keychain import KeychainAdapter

    return _only_read(KeychainAdapter(place)) if inspect else KeychainAdapter(place)


def _preferences(place: str, inspect: bool) -> StorageAdapter:
    from ..adapters.preferences import UserDefaultsAdapter

    return _only_read(UserDefaultsAdapter(place)) if inspect else UserDefaultsAdapter(place)


def _icloud(_: str, inspect: bool) -> StorageAdapter:
    from ..adapters.icloud import ICloudKeyValueAdapter

    return _only_read(ICloudKeyValueAdapter()) if inspect else ICloudKeyValueAdapter()


def _postgresql(place: str, inspect: bool) -> StorageAdapter:
    from ..adapters.postgres import PostgresAdapter

    adapter = PostgresAdapter(f"postgresql:{place}", inspect=inspect)
    return _only_read(adapter) if inspect else adapter


def _redis(scheme: str) -> Callable[[str, bool], StorageAdapter]:
    def make(place: str, inspect: bool) -> StorageAdapter:
        from ..adapters.redis import RedisAdapter

        adapter = RedisAdapter(f"{scheme}:{place}", inspect=inspect)
        return _only_read(adapter) if inspect else adapter

    return make


def _bucket(scheme: str) -> Callable[[str, bool], StorageAdapter]:
    def make(place: str, inspect: bool) -> StorageAdapter:
        from ..adapters.objects import ObjectStoreAdapter

        adapter = ObjectStoreAdapter(f"{scheme}:{place}", inspect=inspect)
        return _only_read(adapter) if inspect else adapter

    return make


_MAKERS: Final[dict[str, Callable[[str, bool], StorageAdapter]]] = {
    "file": _directory,
    "file+documents": _file_in_documents,
    "memory": _memory,
    "keychain": _keychain,
    "defaults": _preferences,
    "icloud": _icloud,
    "postgresql": _postgresql,
    "redis": _redis("redis"),
    "rediss": _redis("rediss"),
    "s3": _bucket("s3"),
    "az": _bucket("az"),
    "gs": _bucket("gs"),
}
"""From what stands behind a scheme, and whether it is only read, to an adapter."""


def _schemes() -> tuple[str, ...]:
    return ("sqlite", *_MAKERS)


def _only_read(adapter: StorageAdapter) -> StorageAdapter:
    from ..layers.read_only import ReadOnly

    return ReadOnly(adapter)


def _made_elsewhere(scheme: str, rest: str, *, inspect: bool) -> StorageAdapter:
    """The adapter that another distribution makes."""
    (entry,) = _entry_points(scheme)[:1]
    try:
        make = entry.load()
    except ImportError as error:
        source = "a distribution" if entry.dist is None else entry.dist.name
        raise ConfigurationError(
            f"{source} offers {scheme!r} stores but cannot be imported: {error}",
            hint="install what it is missing",
        ) from error
    adapter = make(rest, inspect=inspect)
    if not isinstance(adapter, StorageAdapter):
        raise ConfigurationError(
            f"the entry point for {scheme!r} made no StorageAdapter but {shown(adapter)}",
            hint="it names a function that returns one: f(rest, *, inspect)",
        )
    return adapter


def _entry_points(scheme: str | None = None) -> list[EntryPoint]:
    from importlib.metadata import entry_points  # takes longer than everything else here together

    found = entry_points(group=ENTRY_POINTS)
    return [entry for entry in found if scheme is None or entry.name == scheme]


# -- reading an address ----------------------------------------------------------------------------


def address_of(where: str | os.PathLike[str]) -> Address:
    """What a name, URL or path means. Raises ``ConfigurationError``, naming the right spelling."""
    if isinstance(where, os.PathLike):
        return _path(os.fspath(where))
    if not isinstance(where, str):
        raise ConfigurationError(
            f"open_persistence takes a name, an address, a path or an adapter, not {shown(where)}",
            hint="for example open_persistence('notes')",
        )
    if where.strip() in ("", ".", "..", "~"):
        raise ConfigurationError(
            f"{where!r} names no place",
            hint="give an application's name ('notes'), a file ('notes.db') or a directory ('./notes')",
        )
    if "\0" in where:
        raise ConfigurationError("an address cannot contain NUL (U+0000)", hint="for example 'notes'")
    if where == ":memory:":
        return Address("memory", "")
    scheme, colon, rest = where.partition(":")
    drive = len(scheme) == 1 and rest[:1] in ("\\", "/")  # C:\notes.db
    if colon and not drive and not {"/", "\\"} & set(scheme):
        return _url(scheme.lower(), rest, where)
    if {"/", "\\"} & set(where) or where.lower().endswith(_DATABASE) or where.startswith("~"):
        return _path(where)
    return _application(where)


def _application(name: str) -> Address:
    stem, suffix = os.path.splitext(name)
    if suffix.lower() in _FILE_LIKE:
        raise ConfigurationError(
            f"{name!r} looks like a file, and would be taken for the name of an application",
            hint=f"Path({name!r}) is a directory of JSON files, '{stem}.db' one SQLite file, "
            f"'{stem}' an application",
        )
    if name != name.strip() or name.endswith(".") or any(c < " " or c in '<>"|?*' for c in name):
        raise ConfigurationError(
            f"{name!r} cannot be the name of a directory on every system",
            hint="use letters, digits, spaces, '-', '_' and '.'",
        )
    return Address("application", name)


def _path(text: str) -> Address:
    if "\0" in text:
        raise ConfigurationError("a path cannot contain NUL (U+0000)", hint="for example './notes'")
    path = os.path.expanduser(text)
    if path.startswith("~"):
        raise ConfigurationError(
            f"the home directory in {text!r} is not known", hint="write the path out in full"
        )
    return Address("sqlite" if path.lower().endswith(_DATABASE) else "file", path)


def _url(scheme: str, rest: str, where: str) -> Address:
    if scheme == "sqlite":
        return _sqlite(rest)
    if scheme == "file":
        return _file(rest)
    if scheme in ("memory", "icloud") and rest.strip("/"):
        what = "a store in memory" if scheme == "memory" else "the store in iCloud"
        raise ConfigurationError(f"'{scheme}:{rest}': {what} has no name", hint=f"write {scheme}:")
    if scheme in _schemes() or _entry_points(scheme):
        return Address(scheme, rest)
    import difflib

    known = [*_schemes(), *sorted(entry.name for entry in _entry_points())]
    near = difflib.get_close_matches(scheme, known, n=len(known), cutoff=0.6)
    examples = {"sqlite": "sqlite:notes.db", "file": "file:notes", "memory": "memory:", "icloud": "icloud:"}
    raise ConfigurationError(
        f"{where!r} begins with {scheme!r}, which is no known kind of store",
        hint="known are "
        + ", ".join(repr(examples.get(name, name + ":…")) for name in dict.fromkeys((*near, *known)))
        + "; an application's name has no ':'",
    )


def _sqlite(rest: str) -> Address:
    # As SQLAlchemy spells it: three slashes are relative, four absolute.
    if rest.startswith("///"):
        rest = rest[3:]
    elif rest.startswith("//"):
        raise ConfigurationError(
            f"'sqlite:{rest}' would name a host",
            hint="write sqlite:notes.db (relative) or sqlite:////abs/notes.db",
        )
    if "?" in rest:
        raise ConfigurationError(
            f"'sqlite:{rest}' has a query, and there are no options in an address",
            hint="pass options to open_persistence or SQLiteAdapter; a Path may contain '?'",
        )
    if rest == ":memory:":
        return Address("memory", "")
    if not rest:
        raise ConfigurationError("'sqlite:' names no file", hint="write sqlite:notes.db")
    return Address("sqlite", os.path.expanduser(_unquoted(rest)))


def _file(rest: str) -> Address:
    """The directory of a ``file:`` URL (RFC 8089), or of the plain form behind the scheme."""
    if rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        host = host.rpartition("@")[2]  # users and passwords are shown to nobody
        if host not in ("", "localhost"):
            raise ConfigurationError(
                f"file:{rest} names a host, {host!r}, and files are on this one",
                hint=f"write file:{host}{slash}{path} (relative) or file:///… (absolute)",
            )
        path = _unquoted("/" + path)
    else:
        path = os.path.expanduser(_unquoted(rest))
    if path in ("", "/"):
        raise ConfigurationError(
            f"'file:{rest}' names no directory", hint="write file:notes or file:///p/notes"
        )
    return Address("file", path)


def _unquoted(text: str) -> str:
    if "%" not in text:
        return text
    from urllib.parse import unquote

    return unquote(text)
