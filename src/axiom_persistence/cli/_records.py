"""``ls``, ``get``, ``set``, ``rm`` and ``has``: keys and values."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any, Final

import click

from ..keys import MISSING
from ..opening.addresses import adapter_for
from ..opening.open import open_persistence
from ..persistence.persistence import AdapterBasedPersistence
from ..storage.adapter import Durability
from ._endings import Ending, ExitCode
from ._keys import keys_given, reveal_option
from ._output import data, each_of, note, printable, to_json
from .base import (
    command,
    complete_key,
    complete_store,
    facts_of,
    kept_audit,
    must_be_there,
    no_such_key,
    opened,
    versions_of,
)

__all__ = ["MASK", "get", "has", "listing", "remove", "save"]

MASK: Final = "••••••••"
"""In place of a confidential value, however long that is."""


@click.command("ls", short_help="List keys.")
@click.argument("where", shell_complete=complete_store)
@click.argument("prefix", shell_complete=complete_key, default="")
@click.option("-l", "--long", is_flag=True, help="Also size, time of the save and damage.")
@command
def listing(where: str, prefix: str, long: bool, as_json: bool) -> None:
    """List the keys that begin with PREFIX, in order."""
    asyncio.run(_list(where, prefix, long, as_json))


async def _list(where: str, prefix: str, long: bool, as_json: bool) -> None:
    async with opened(where, "inspect") as persistence:
        entries = (
            await _entry(persistence, key) if long else {"key": key} async for key in persistence.keys(prefix)
        )
        await each_of(entries, _line if long else lambda entry: printable(entry["key"]), as_json=as_json)


def _line(entry: dict[str, Any]) -> str:
    damaged = "  damaged" if entry["damage"] else ""
    return f"{entry['size']:>10,}  {entry['saved_at'] or '-':<20}  {printable(entry['key'])}{damaged}"


async def _entry(persistence: AdapterBasedPersistence, key: str) -> dict[str, Any] | None:
    """None: it was deleted meanwhile."""
    facts = await facts_of(persistence, key)
    return facts and {name: facts[name] for name in ("key", "size", "saved_at", "expires_at", "damage")}


@click.command("get", short_help="Print a value.")
@click.argument("where", shell_complete=complete_store)
@click.argument("key", shell_complete=complete_key)
@click.option("--raw", is_flag=True, help="Write a string as it is, without quotes.")
@reveal_option
@command
def get(where: str, key: str, raw: bool, reveal: bool, as_json: bool) -> None:
    """Print the value of KEY as JSON; of a confidential store, dots, unless --reveal is given."""
    if raw and as_json:
        raise click.UsageError("--raw and --json exclude each other", click.get_current_context())
    asyncio.run(_get(where, key, raw, reveal, as_json))


async def _get(where: str, key: str, raw: bool, reveal: bool, as_json: bool) -> None:
    async with opened(where, "inspect") as persistence:
        value = await persistence.load(key, Any, default=MISSING)
        if value is MISSING:
            await no_such_key(persistence, key)
    if persistence.adapter.traits.confidential and not reveal:
        data(to_json({"key": key, "value": None, "masked": True}) if as_json else MASK)
        note("the value is confidential; --reveal shows it")
    elif as_json:
        data(to_json({"key": key, "value": value}))
    elif raw and isinstance(value, str):
        data(value)
    else:
        data(to_json(value, indent=2))


@click.command("set", short_help="Save a value.", context_settings={"ignore_unknown_options": True})
@click.argument("where", shell_complete=complete_store)
@click.argument("key", shell_complete=complete_key)
@click.argument("value", required=False)
@click.option("--raw", is_flag=True, help="VALUE is not JSON: store all of it as a string.")
@command
def save(where: str, key: str, value: str | None, raw: bool, as_json: bool) -> None:
    """Save VALUE, which is JSON, under KEY; without VALUE, or with -, what is on standard input.

    Makes the store if there is none. Returns when the value survives a loss of power, where the store can
    promise that.
    """
    stored = _value(value, raw)
    asyncio.run(_set(where, key, stored))
    if as_json:
        data(to_json({"key": key, "saved": True}))


def _value(given: str | None, raw: bool) -> Any:
    text = _standard_input(asked=given == "-") if given is None or given == "-" else given
    if raw:
        return text
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise Ending(ExitCode.USAGE, f"the value is not JSON: {error}", hint=_hint_for(text)) from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, or too deep
        raise Ending(ExitCode.USAGE, f"the value cannot be read: {error}") from None


def _standard_input(*, asked: bool) -> str:
    if not asked and sys.stdin.isatty():
        raise click.UsageError("no VALUE given", click.get_current_context())
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise Ending(ExitCode.USAGE, f"standard input is not UTF-8: {error}") from None


def _refuse_constant(name: str) -> Any:
    raise Ending(ExitCode.USAGE, f"JSON has no {name}", hint="store null, or a string")


def _hint_for(text: str) -> str:
    text = text.strip()
    if not text:
        return "an empty string is '\"\"', nothing at all is null"
    if "\n" in text or text[0] in '{["':
        return "--raw stores it as a string"
    return "a string needs quotes, as '\"text\"', or --raw"


async def _set(where: str, key: str, value: Any) -> None:
    adapter = adapter_for(where)
    if adapter.traits.durability is Durability.MEMORY:
        raise Ending(
            ExitCode.USAGE,
            f"what is saved in {where!r} ends with this command",
            hint="give a file (notes.db), a directory (./notes) or an application's name (notes)",
        )
    try:
        await must_be_there(where)
        migrations, new = await versions_of(where), False
    except Ending as ending:
        if ending.code is not ExitCode.NO_SUCH_STORE:
            raise
        migrations, new = None, True
    opening = open_persistence(where, migrations=migrations, keys=keys_given(), audit=kept_audit())
    async with opening as persistence:
        await persistence.save(key, value)
    if new:
        note(f"made a new store at {adapter.location}")


@click.command("rm", short_help="Remove keys.")
@click.argument("where", shell_complete=complete_store)
@click.argument("keys", shell_complete=complete_key, nargs=-1, required=True)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would be removed.")
@command
def remove(where: str, keys: tuple[str, ...], yes: bool, dry_run: bool, as_json: bool) -> None:
    """Remove all of KEYS, or none when one of them is not there.

    Their earlier generations go, too. Asks on a terminal; elsewhere it needs --yes.
    """
    unique = list(dict.fromkeys(keys))
    asyncio.run(_must_exist(where, unique))
    if not dry_run and not yes:
        what = repr(printable(unique[0])) if len(unique) == 1 else f"{len(unique)} keys"
        if not sys.stdin.isatty():
            raise Ending(ExitCode.USAGE, f"removing {what} needs --yes where nobody can be asked")
        if not click.confirm(f"Remove {what} for ever?", err=True):
            raise Ending(ExitCode.FAILED, "nothing was removed")
    if not dry_run:
        asyncio.run(_remove(where, unique))
    if as_json:
        data(to_json({"removed": unique, "dry_run": dry_run}))
    elif dry_run:
        for key in unique:
            data(f"would remove {printable(key)}")


async def _must_exist(where: str, keys: list[str]) -> None:
    async with opened(where, "inspect") as persistence:
        for key in keys:
            if not await persistence.exists(key):
                await no_such_key(persistence, key)


async def _remove(where: str, keys: list[str]) -> None:
    async with opened(where, "normal") as persistence:
        if persistence.adapter.traits.atomic:
            await persistence.delete_many(keys)
            return
        for key in keys:
            await persistence.delete(key)


@click.command("has", short_help="Ask by exit code whether a key is there.")
@click.argument("where", shell_complete=complete_store)
@click.argument("key", shell_complete=complete_key)
@command
def has(where: str, key: str, as_json: bool) -> int:
    """Exit with 0 when KEY is there, with 4 when it is not; print nothing."""
    there = asyncio.run(_has(where, key))
    if as_json:
        data(to_json({"key": key, "exists": there}))
    return ExitCode.DONE if there else ExitCode.NO_SUCH_KEY


async def _has(where: str, key: str) -> bool:
    async with opened(where, "inspect") as persistence:
        return await persistence.exists(key)
