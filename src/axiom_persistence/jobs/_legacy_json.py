"""Bare JSON: a file of one object, whose members are the values; Home Assistant's files; our own records."""

from __future__ import annotations

import re
from collections.abc import Iterator
from json import JSONDecodeError, JSONDecoder
from pathlib import Path
from typing import Any, Final

import msgspec

from ..records.record import look_at
from ._legacy import Found, Unreadable, copied_database, tables_of, why

__all__ = ["has_rows", "looks_like_home_assistant", "looks_like_record", "read", "read_record", "read_rows"]

_RECORD: Final = b'{"axiom":'
_HOME_ASSISTANT: Final = {"version", "minor_version", "key", "data"}
_SPACE: Final = re.compile(r"\s*")
_MEMBER: Final = re.compile(r'(\s*)("(?:[^"\\]|\\.)*")\s*:\s*')


def looks_like_record(head: bytes) -> bool:
    return head.startswith(_RECORD)


def looks_like_home_assistant(head: bytes) -> bool:
    text = head.decode(errors="replace").lstrip()
    found = set(re.findall(r'"(version|minor_version|key|data)"\s*:', text))
    return text.startswith("{") and {"version", "key", "data"} <= found


def read(path: Path) -> Iterator[Found]:
    """The members of the object in a file; of what is no object, one value with the file's name."""
    text = path.read_bytes().decode("utf-8-sig", "surrogateescape")
    try:
        value = msgspec.json.decode(text.encode())
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        yield from _rescued(text, path.stem, why(error))
        return
    if not isinstance(value, dict):
        yield Found(path.stem, value)
        return
    for name, member in value.items():
        yield Found(name, member)


def read_home_assistant(path: Path) -> Iterator[Found]:
    """The ``data`` of a file, under its ``key``."""
    try:
        value = msgspec.json.decode(path.read_bytes())
    except msgspec.DecodeError as error:
        yield Found(path.name, problem=f"it is not JSON: {why(error)}")
        return
    if not isinstance(value, dict) or not {"version", "key", "data"} <= value.keys() <= _HOME_ASSISTANT:
        yield Found(path.name, problem="it is not a file of version, key and data")
        return
    yield Found(str(value["key"]), value["data"])


def read_record(path: Path, name: str) -> Iterator[Found]:
    """A record of ours that was copied out of its store."""
    data = path.read_bytes().rstrip(b"\r\n")
    record, problem, _ = look_at(name, data, "1.0")
    if record is None:
        yield Found(name, problem=f"its record does not hold here: {problem}")
        return
    expires = None if record.expires is None else record.expires / 1000
    yield Found(name, msgspec.json.decode(record.value), expires=expires)


def _rescued(text: str, stem: str, reason: str) -> Iterator[Found]:
    """The whole members of a damaged object, by the decoder that says where each of them ends."""
    decode = JSONDecoder().raw_decode
    place = _SPACE.match(text).end()  # type: ignore[union-attr]  # it matches nothing, too
    if text[place : place + 1] != "{":
        yield Found(stem, problem=f"it is not JSON: {reason}")
        return
    place += 1
    first = _MEMBER.match(text, place)
    indent = "" if first is None else first[1]
    while (member := _MEMBER.match(text, place)) is not None:
        name, value, end = _member(decode, text, member)
        yield value
        if end is not None and text[end : end + 1] == ",":
            place = end + 1
            continue
        if end is not None and text[end : end + 1] == "}":
            rest = text[end + 1 :].strip()
            if rest:
                yield Found(stem, problem=f"{len(rest):,} characters behind its end are not JSON")
            return
        # Where each member has a line of its own, the next one shows by its indentation.
        again = text.find("," + indent + '"', member.end()) if indent.strip(" \t") else -1
        if again < 0:
            yield Found(stem, problem=f"what is behind {name!r} cannot be read: {reason}")
            return
        place = again + 1
    left = text[place:].strip().strip("}")
    if left:
        yield Found(stem, problem=f"{len(left):,} characters at its end cannot be read: {reason}")


def _member(decode: Any, text: str, member: re.Match[str]) -> tuple[str, Found, int | None]:
    """The name of a member, what was found there, and where it ends."""
    name = member[2][1:-1]
    try:
        name = decode(member[2])[0]
        value, end = decode(text, member.end())
        end = _SPACE.match(text, end).end()  # type: ignore[union-attr]
        name.encode()
        msgspec.json.encode(value)
    except (JSONDecodeError, UnicodeEncodeError, RecursionError) as error:
        shown = name.encode(errors="replace").decode()
        return shown, Found(shown, problem=f"its value is damaged: {why(error)}"), None
    if text[end : end + 1] not in (",", "}"):
        return name, Found(name, problem="its value does not end where the next member begins"), None
    return name, Found(name, value), end


def has_rows(path: Path) -> bool:
    """Whether an SQLite file has a table of keys and values."""
    with copied_database(path) as connection:
        try:
            return bool(_tables_of_rows(tables_of(connection)))
        except Unreadable:
            return False


def _tables_of_rows(tables: dict[str, list[str]]) -> list[str]:
    return [name for name, columns in tables.items() if [c.lower() for c in columns[:2]] == ["key", "value"]]


def read_rows(path: Path) -> Iterator[Found]:
    """The rows of tables that have a ``key`` and a JSON ``value``; of several tables, each under its name."""
    with copied_database(path) as connection:
        names = _tables_of_rows(tables_of(connection))
        if not names:
            raise Unreadable("it has no table of keys and values")
        for table in names:
            before = "" if len(names) == 1 else f"{table}/"
            quoted = table.replace('"', '""')
            for key, value in connection.execute(f'SELECT key, value FROM "{quoted}"'):  # noqa: S608 - quoted
                name = before + (key if isinstance(key, str) else str(key))
                if not isinstance(value, (str, bytes)):
                    yield Found(name, value)
                    continue
                try:
                    yield Found(name, msgspec.json.decode(value))
                except (msgspec.DecodeError, UnicodeDecodeError):
                    yield Found(name, problem="its value is not JSON; name the format that wrote it")
