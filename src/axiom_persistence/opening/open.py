"""The one place that puts adapters, layers and a store together."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from types import NoneType
from typing import TYPE_CHECKING, Final, Literal

from ..errors import AccessDeniedError, ConfigurationError
from ..layers.cached import Cached, CachePolicy
from ..layers.observed import Observed
from ..persistence.persistence import AdapterBasedPersistence
from ..records.corruption import Corruption, OnCorruption
from ..storage.adapter import Durability, StorageAdapter

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["HOME_VARIABLE", "adapter_for", "application_directory", "open_persistence"]

HOME_VARIABLE: Final = "AXIOM_PERSISTENCE_HOME"
"""Moves the stores of all applications: tests, containers, portable programs."""

ENTRY_POINTS: Final = "axiom_persistence.adapters"
"""Where other distributions register a scheme: name = scheme, value = ``f(rest, *, inspect) -> adapter``."""

_DATABASE: Final = (".db", ".sqlite", ".sqlite3")
_FILE_LIKE: Final = (
    *(".json", ".jsonl", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".conf", ".txt", ".xml", ".plist", ".csv"),
    *(".pickle", ".pkl", ".dat", ".bin", ".shelve"),
)

_DEFAULT_CACHE: Final = CachePolicy()

Where = str | os.PathLike[str] | StorageAdapter


def open_persistence(
    where: Where,
    *,
    durability: Durability | str | None = None,
    cache: CachePolicy | None = _DEFAULT_CACHE,
    on_corruption: OnCorruption | Literal["recover", "raise"] = Corruption.RECOVER,
    secure: StorageAdapter | None = None,
    mode: Literal["normal", "inspect"] = "normal",
) -> AdapterBasedPersistence:
    """The persistence at ``where``, to be opened by ``async with`` or ``await``.

    ``where`` is one of: the name of an application (``"notes"``: SQLite in its data directory, or below
    ``AXIOM_PERSISTENCE_HOME``); a URL (``"sqlite:notes.db"``, ``"file:settings"``,
    ``"file+documents:notes"``, ``"memory:"``); a path (a suffix .db, .sqlite or .sqlite3 means one SQLite
    file, anything else a directory of JSON files; ``~`` is expanded); or an adapter. A ``Path`` is always
    a path.

    ``durability``: what a save survives unless it says otherwise; None: the strongest the place promises.
    ``cache``: how much is kept in memory (16 MiB, written through; leave it); None: nothing. With
    ``CachePolicy.write_back(...)`` a save returns once it is in memory, unless it asks for more.
    ``on_corruption``: what happens to damaged records. ``secure``: a confidential adapter for secrets.
    ``mode="inspect"`` creates, migrates, repairs and sweeps nothing, and refuses to write.

    Raises ``ConfigurationError`` for an address that is none, naming the right spelling. Opening raises
    ``ForeignStoreError`` for a place that holds something else, ``StoreNotFoundError`` in inspect mode.
    """
    if mode not in ("normal", "inspect"):
        raise ConfigurationError(f"mode is 'normal' or 'inspect', not {mode!r}")
    if not isinstance(cache, (CachePolicy, NoneType)):
        raise ConfigurationError(f"cache is a CachePolicy or None, not {cache!r:.80}")
    if not isinstance(secure, (StorageAdapter, NoneType)):
        raise ConfigurationError(f"secure is a confidential adapter, not {secure!r:.80}")
    inspect = mode == "inspect"
    adapter = adapter_for(where, inspect=inspect)
    # The order of the layers is part of what a store is: nowhere else are they put together.
    if cache is not None and not inspect and adapter.traits.durability > Durability.MEMORY:
        adapter = Cached(adapter, cache)
        if cache.interval is not None and durability is None:
            durability = Durability.MEMORY  # what a write-back cache is for
    if not inspect:
        adapter = Observed(adapter)
    return AdapterBasedPersistence(
        adapter,
        durability=durability,
        on_corruption=Corruption.RAISE if inspect else on_corruption,
        secure=secure,
    )


def adapter_for(where: Where, *, inspect: bool = False) -> StorageAdapter:
    """The adapter that ``where`` names. Nothing is opened or created yet."""
    if isinstance(where, StorageAdapter):
        if inspect:
            return _read_only(where)
        return where
    if isinstance(where, os.PathLike):
        return _path(os.fspath(where), inspect)
    if not isinstance(where, str):
        raise ConfigurationError(
            f"open_persistence takes a name, an address, a path or an adapter, not {where!r:.80}"
        )
    return _text(where, inspect)


def application_directory(name: str) -> Path:
    """Where the store of an application is: its user data directory, or below ``AXIOM_PERSISTENCE_HOME``."""
    from pathlib import Path

    home = os.environ.get(HOME_VARIABLE)
    if home:
        return Path(home).expanduser() / name
    from platformdirs import user_data_path

    try:
        place = user_data_path(name, appauthor=False)
    except RuntimeError:  # what pathlib raises without a home, and platformdirs too
        place = Path("~")
    if not place.is_absolute() or str(place).startswith("~"):
        raise ConfigurationError(
            f"this account has no home directory, so there is no place for the application {name!r}",
            hint=f"set {HOME_VARIABLE} to a directory, or open a path",
        )
    return place


def _text(where: str, inspect: bool) -> StorageAdapter:
    if where.strip() in ("", ".", "..", "~"):
        raise ConfigurationError(
            f"{where!r} names no place",
            hint="give an application's name ('notes'), a file ('notes.db') or a directory ('./notes')",
        )
    if "\0" in where:
        raise ConfigurationError(f"an address cannot contain NUL: {where!r}")
    if where == ":memory:":
        return _memory("", inspect)
    scheme, colon, rest = where.partition(":")
    drive = len(scheme) == 1 and rest[:1] in ("\\", "/")  # C:\notes.db
    if colon and not drive and not {"/", "\\"} & set(scheme):
        return _scheme(scheme.lower(), rest, where, inspect)
    if {"/", "\\"} & set(where) or where.lower().endswith(_DATABASE) or where.startswith("~"):
        return _path(where, inspect)
    return _application(where, inspect)


def _application(name: str, inspect: bool) -> StorageAdapter:
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
    directory = application_directory(name)
    if not inspect:
        _check_writable(directory, name)
    return _sqlite(str(directory / "state.db"), inspect)


def _check_writable(directory: Path, name: str) -> None:
    """Say early, and in the user's terms, that there is no place for an application."""
    nearest = next(place for place in (directory, *directory.parents) if os.path.lexists(place))
    if nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK):
        return
    why = "may not be written to" if nearest.is_dir() else "is no directory"
    raise AccessDeniedError(
        f"there is no place for the application {name!r}: {nearest} {why}",
        hint=f"set {HOME_VARIABLE} to a directory that can be written to, or open a path",
    )


def _path(text: str, inspect: bool) -> StorageAdapter:
    if "\0" in text:
        raise ConfigurationError(f"a path cannot contain NUL: {text!r}")
    path = os.path.expanduser(text)
    if path.startswith("~"):
        raise ConfigurationError(
            f"the home directory in {text!r} is not known", hint="write the path out in full"
        )
    if path.lower().endswith(_DATABASE):
        return _sqlite(path, inspect)
    return _directory(path, inspect)


def _scheme(scheme: str, rest: str, where: str, inspect: bool) -> StorageAdapter:
    factory = _SCHEMES.get(scheme)
    if factory is not None:
        return factory(rest, inspect)
    from importlib.metadata import entry_points  # takes longer than everything else here together

    for entry in entry_points(group=ENTRY_POINTS, name=scheme):
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
            raise ConfigurationError(f"the entry point for {scheme!r} made no StorageAdapter: {adapter!r}")
        return adapter
    known = [*_SCHEMES, *sorted(entry.name for entry in entry_points(group=ENTRY_POINTS))]
    import difflib

    near = difflib.get_close_matches(scheme, known, n=len(known), cutoff=0.6)
    ordered = near + [name for name in known if name not in near]
    examples = {"sqlite": "sqlite:notes.db", "file": "file:notes", "memory": "memory:"}
    raise ConfigurationError(
        f"{where!r} begins with {scheme!r}, which is no known kind of store",
        hint="known are "
        + ", ".join(repr(examples.get(name, name + ":…")) for name in ordered)
        + "; an application's name has no ':'",
    )


def _unquoted(text: str) -> str:
    if "%" not in text:
        return text
    from urllib.parse import unquote

    return unquote(text)


def _url_path(rest: str, where: str) -> str:
    """The path of a ``file:`` URL (RFC 8089) or of the plain form behind the scheme."""
    if rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        if host not in ("", "localhost"):
            raise ConfigurationError(
                f"{where}:{rest} names a host, {host!r}, and files are on this one",
                hint=f"write {where}:{host}{slash}{path} (relative) or {where}:///… (absolute)",
            )
        return _unquoted("/" + path)
    return os.path.expanduser(_unquoted(rest))


def _sqlite_url(rest: str, inspect: bool) -> StorageAdapter:
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
    if rest in ("", ":memory:"):
        if rest:
            return _memory("", inspect)
        raise ConfigurationError("'sqlite:' names no file", hint="write sqlite:notes.db")
    return _sqlite(os.path.expanduser(_unquoted(rest)), inspect)


def _file_url(rest: str, inspect: bool) -> StorageAdapter:
    path = _url_path(rest, "file")
    if path in ("", "/"):
        raise ConfigurationError(
            f"'file:{rest}' names no directory", hint="write file:notes or file:///p/notes"
        )
    return _directory(path, inspect)


def _documents(rest: str, inspect: bool) -> StorageAdapter:
    if not rest or {"/", "\\"} & set(rest) or rest in (".", ".."):
        raise ConfigurationError(
            f"'file+documents:{rest}' needs the plain name of a folder", hint="write file+documents:notes"
        )
    from platformdirs import user_documents_path

    try:
        documents = user_documents_path()
    except RuntimeError as error:
        raise ConfigurationError(
            f"this account has no home directory, so there are no documents for {rest!r}",
            hint="set HOME, or open a path",
        ) from error
    return _directory(str(documents / rest), inspect)


def _memory(rest: str, inspect: bool) -> StorageAdapter:
    if rest.strip("/"):
        raise ConfigurationError(f"'memory:{rest}': a store in memory has no name", hint="write memory:")
    from ..adapters.memory import MemoryAdapter

    return _read_only(MemoryAdapter()) if inspect else MemoryAdapter()


def _directory(path: str, inspect: bool) -> StorageAdapter:
    from ..adapters.file import FileStorageAdapter

    return FileStorageAdapter(path, inspect=inspect)


def _sqlite(path: str, inspect: bool) -> StorageAdapter:
    from ..adapters.sqlite import SQLiteAdapter

    return SQLiteAdapter(path, inspect=inspect)


def _read_only(adapter: StorageAdapter) -> StorageAdapter:
    module = import_module("axiom_persistence.layers.read_only")
    layered: StorageAdapter = module.ReadOnly(adapter)
    return layered


_SCHEMES: Final[dict[str, Callable[[str, bool], StorageAdapter]]] = {
    "sqlite": _sqlite_url,
    "file": _file_url,
    "file+documents": _documents,
    "memory": _memory,
}
