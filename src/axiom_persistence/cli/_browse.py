"""``browse``: keys with the beginning of their values."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import click

from ..errors import CorruptedDataError, SchemaTooNewError
from ..keys import MISSING
from ..persistence.persistence import AdapterBasedPersistence
from ._keys import reveal_option
from ._output import each_of, note, printable, style, to_json
from ._records import MASK
from .base import command, complete_key, complete_store, opened

__all__ = ["browse"]

_WIDTH: Final = 100
"""Characters of a value that are shown."""


@click.command("browse", short_help="List keys with their values.")
@click.argument("where", shell_complete=complete_store)
@click.argument("prefix", shell_complete=complete_key, default="")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Only the first N.")
@reveal_option
@command
def browse(where: str, prefix: str, limit: int | None, reveal: bool, as_json: bool) -> None:
    """List the keys that begin with PREFIX, a line each, with the beginning of their values.

    Of a confidential store, dots in place of values, unless --reveal is given. --json has whole values.
    """
    asyncio.run(_browse(where, prefix, limit, reveal, as_json))


async def _browse(where: str, prefix: str, limit: int | None, reveal: bool, as_json: bool) -> None:
    async with opened(where, "inspect") as persistence:
        masked = persistence.adapter.traits.confidential and not reveal
        entries = (
            {"key": key, "masked": True} if masked else await _entry(persistence, key)
            async for key in persistence.keys(prefix, limit=limit)
        )
        await each_of(entries, _shown, as_json=as_json)
    if masked and not as_json:
        note("the values are confidential; --reveal shows them")


async def _entry(persistence: AdapterBasedPersistence, key: str) -> dict[str, Any] | None:
    """None: it is not there any more."""
    try:
        value = await persistence.load(key, Any, default=MISSING)
    except (CorruptedDataError, SchemaTooNewError) as error:
        return {"key": key, "error": error.message}
    return None if value is MISSING else {"key": key, "value": value}


def _shown(entry: dict[str, Any]) -> str:
    return f"{printable(entry['key'])}  {_value(entry)}"


def _value(entry: dict[str, Any]) -> str:
    if "error" in entry:
        return style(printable(entry["error"]), "red")
    if "value" not in entry:
        return MASK
    text = to_json(entry["value"], ascii_only=False)
    return printable(text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…")
