"""Taking over what other programs, and other libraries, have stored. The source is only read."""

from __future__ import annotations

import asyncio
import fnmatch
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from ..errors import ConfigurationError, ConflictError, PersistenceError, StoreNotFoundError
from ..records.record import look_at
from ..runtime.acting import because
from ..storage.adapter import Stored
from ..store.store import Store
from ._legacy import Found, Unreadable, why
from ._legacy_typed import typed

__all__ = ["FORMATS", "ImportReport", "Imported", "import_legacy"]

_PAGE: Final = 256
_HEAD: Final = 4096
_SQLITE: Final = b"SQLite format 3\0"
_PICKLED: Final = ("shelve", "sqlitedict", "diskcache", "pickle")
FORMATS: Final = ("json", "rows", "plist", "ini", "qsettings", "home-assistant", "axiom", "dbm", *_PICKLED)
"""What ``format`` may be; the last four are pickles, and are never guessed."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of one name in the source."""

    name: str
    key: str
    """Where it is now, or would be."""
    outcome: str
    """``imported``; ``skipped`` (something else is there, or it does not fit); ``damaged``."""
    reason: str = ""


@dataclass(slots=True)
class ImportReport:
    """What an import found. True when everything was imported or there already."""

    source: str
    format: str
    dry_run: bool
    entries: list[Imported] = field(default_factory=list)
    """Every name that was found, in the order of the source."""

    def of(self, outcome: str) -> list[Imported]:
        return [entry for entry in self.entries if entry.outcome == outcome]

    @property
    def imported(self) -> list[Imported]:
        """What was imported, or would be in a dry run."""
        return self.of("imported")

    @property
    def skipped(self) -> list[Imported]:
        return self.of("skipped")

    @property
    def damaged(self) -> list[Imported]:
        return self.of("damaged")

    def __bool__(self) -> bool:
        return not self.damaged and all(entry.reason == _THERE for entry in self.skipped)


_THERE: Final = "a value is there already, and stays"


class _Plan(NamedTuple):
    """One value on its way into the store."""

    found: Found
    key: str
    data: bytes


async def import_legacy(
    store: Store,
    source: str | Path,
    *,
    format: str | None = None,
    into: str = "",
    types: Mapping[str, Any] | None = None,
    allow: Collection[type] = (),
    dry_run: bool = False,
    progress: Callable[[int], None] | None = None,
) -> ImportReport:
    """Save what is at ``source`` under ``into`` and its name there; see ``AdapterBasedPersistence``."""
    path = Path(source).expanduser()
    chosen = await asyncio.to_thread(_format_of, path, format, allow)
    report = ImportReport(str(path), chosen, dry_run)
    values, seen = _read(path, chosen, allow), set[str]()
    try:
        while page := await asyncio.to_thread(lambda: list(islice(values, _PAGE))):
            plans = [plan for one in page if (plan := _planned(store, report, one, into, types or {}, seen))]
            await _store(store, report, plans)
            if progress is not None:
                progress(len(report.entries))
    except Unreadable as error:
        raise ConfigurationError(
            f"{path} is not of the format {chosen}: {why(error)}", hint=f"known are {', '.join(FORMATS)}"
        ) from error
    return report


def _planned(
    store: Store, report: ImportReport, one: Found, into: str, types: Mapping[str, Any], seen: set[str]
) -> _Plan | None:
    """What to store; None where the report has said why not."""
    key, expires = into + one.name, None if one.expires is None else int(one.expires * 1000)
    if one.problem:
        report.entries.append(Imported(one.name, key, "damaged", one.problem))
        return None
    try:
        store.check_key(key)
        if key in seen:
            raise ConfigurationError("the same name was there before")
        if expires is not None and expires <= store.clock() * 1000:
            raise ConfigurationError("it had expired")
        kind = next((types[each] for each in types if fnmatch.fnmatchcase(one.name, each)), None)
        data = store.seal(key, typed(one.value, kind), kind, expires)
    except PersistenceError as error:
        report.entries.append(Imported(one.name, key, "skipped", error.message))
        return None
    seen.add(key)
    return _Plan(one, key, data)


async def _store(store: Store, report: ImportReport, plans: list[_Plan]) -> None:
    """Commit what is not there yet: what the store has got meanwhile is never replaced."""
    whole = store.adapter.traits.atomic
    while plans:
        found = await store.adapter.fetch([plan.key for plan in plans])
        there = {key for key, stored in found.items() if not _has_expired(store, key, stored)}
        for plan in [plan for plan in plans if plan.key in there]:
            report.entries.append(Imported(plan.found.name, plan.key, "skipped", _THERE))
            plans.remove(plan)
        now = plans if whole else plans[:1]
        if now and not report.dry_run:
            try:
                expect = {p.key: found[p.key].version if p.key in found else None for p in now}
                with because("import of what another library stored"):
                    await store.commit({p.key: p.data for p in now}, expect=expect)
            except ConflictError:
                continue
        report.entries += [Imported(plan.found.name, plan.key, "imported") for plan in now]
        plans = plans[len(now) :]


def _has_expired(store: Store, key: str, stored: Stored) -> bool:
    """What is damaged has not: it may be a value that somebody wants back."""
    record = None if stored.damage else look_at(key, stored.data, store.schema_of(key))[0]
    return record is not None and store.expired(record)


# -- which format, and what is in it ---------------------------------------------------------------------


def _format_of(path: Path, asked: str | None, allow: Collection[type]) -> str:
    if asked is not None and asked not in FORMATS:
        raise ConfigurationError(f"there is no format {asked!r}", hint=f"known are {', '.join(FORMATS)}")
    if asked is None and allow:
        raise ConfigurationError(
            "allow= is for pickles, which are opened only when their format is named",
            hint=f"pass format=, one of {', '.join(_PICKLED)}",
        )
    from ._legacy_dbm import database_at

    if not path.exists() and not (asked in ("dbm", "shelve") and database_at(path)):
        raise StoreNotFoundError(f"there is nothing at {path} to import", hint="check the path")
    if asked is not None:
        return asked
    found = _guess(path)
    if found is None:
        raise ConfigurationError(
            f"the format of {path} cannot be told from its content",
            hint=f"pass format=, one of {', '.join(FORMATS)}; the last four are opened only so",
        )
    return found


def _guess(path: Path) -> str | None:
    """The format of a file, by its content first; of a directory, that of the files in it."""
    from . import _legacy_json, _legacy_plist, _legacy_qsettings

    if path.is_dir():
        inside = {_guess(file) for file in _files(path)} - {None}
        return inside.pop() if len(inside) == 1 else "json" if inside else None
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if head.startswith(_SQLITE):
        return "rows" if _legacy_json.has_rows(path) else None
    if _legacy_plist.looks_like(head):
        return "plist"
    if _legacy_json.looks_like_record(head):
        return "axiom"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text[:1] in (b"{", b"["):
        if text[:1] == b"[" and path.suffix.lower() in (".ini", ".conf", ".cfg"):
            return "qsettings" if _legacy_qsettings.looks_like(head) else "ini"
        return "home-assistant" if _legacy_json.looks_like_home_assistant(head) else "json"
    if path.suffix.lower() == ".json":
        return "json"
    if path.suffix.lower() in (".ini", ".conf", ".cfg"):
        return "qsettings" if _legacy_qsettings.looks_like(head) else "ini"
    return None


def _files(directory: Path) -> list[Path]:
    """The files of a directory and those below it, in order; hidden ones and links are none."""
    return [
        file
        for file in sorted(directory.rglob("*"))
        if file.is_file()
        and not file.is_symlink()
        and not any(part.startswith(".") for part in file.relative_to(directory).parts)
    ]


def _read(path: Path, format: str, allow: Collection[type]) -> Iterator[Found]:
    if path.is_dir() and format != "diskcache":
        return _read_directory(path, format, allow)
    return _read_file(path, format, allow, path.stem)


def _read_directory(directory: Path, format: str, allow: Collection[type]) -> Iterator[Found]:
    """Each file a value of its own, under its path without the suffix; those of other formats are named."""
    for file in _files(directory):
        name = file.relative_to(directory).as_posix()
        bare = name.removesuffix(file.suffix) if format != "home-assistant" else name
        try:
            if format == "json":
                yield Found(bare, msgspec.json.decode(file.read_bytes()))
                continue
            yield from _read_file(file, format, allow, bare)
        except (Unreadable, OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            yield Found(bare, problem=f"it is not of the format {format}: {why(error)}")


def _read_file(path: Path, format: str, allow: Collection[type], name: str) -> Iterator[Found]:
    from . import (
        _legacy_dbm,
        _legacy_diskcache,
        _legacy_ini,
        _legacy_json,
        _legacy_pickle,
        _legacy_plist,
        _legacy_qsettings,
    )

    unpickle = _legacy_pickle.unpickler(allow)
    match format:
        case "json":
            return _legacy_json.read(path)
        case "rows":
            return _legacy_json.read_rows(path)
        case "home-assistant":
            return _legacy_json.read_home_assistant(path)
        case "axiom":
            return _legacy_json.read_record(path, name)
        case "plist":
            return _legacy_plist.read(path)
        case "ini":
            return _legacy_ini.read(path)
        case "qsettings":
            return _legacy_qsettings.read(path)
        case "dbm":
            return _legacy_dbm.read(path, None)
        case "shelve":
            return _legacy_dbm.read(path, unpickle)
        case "sqlitedict":
            return _legacy_pickle.read_sqlitedict(path, unpickle)
        case "diskcache":
            return _legacy_diskcache.read(path, unpickle)
        case _:
            return _legacy_pickle.read_pickle(path, unpickle)
