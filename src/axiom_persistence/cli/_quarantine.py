"""``quarantine`` and ``watch``: what was moved out of the way, and what changes."""

from __future__ import annotations

import asyncio
import sys
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import click

from ._endings import Ending, ExitCode
from ._keys import refuse_to_reveal, reveal_option
from ._output import data, note, printable, timestamp, to_json
from .base import command, complete_key, complete_store, opened

if TYPE_CHECKING:
    from ..jobs.quarantine import Item

__all__ = ["quarantine", "watch"]


@click.group("quarantine", short_help="Look after damaged bytes.")
def quarantine() -> None:
    """List, show, put back or drop the damaged bytes that were moved out of the way."""


@quarantine.command("list", short_help="List what lies there.")
@click.argument("where", shell_complete=complete_store)
@command
def _list(where: str, as_json: bool) -> None:
    """List what lies in quarantine: id, size, key, and why it was refused."""

    async def work() -> list[Item]:
        async with opened(where, "inspect") as persistence:
            return await persistence.quarantined()

    found = asyncio.run(work())
    if as_json:
        data(to_json([_facts(item) for item in found]))
        return
    for item in found:
        data(f"{item.id}  {item.size:>8,}  {printable(item.key)}: {printable(item.reason)}")


@quarantine.command("show", short_help="Write the bytes out.")
@click.argument("where", shell_complete=complete_store)
@click.argument("id")
@reveal_option
@command
def _show(where: str, id: str, reveal: bool, as_json: bool) -> None:
    """Write the damaged bytes to standard output as they are; with --json, in base64."""

    async def work() -> Item:
        async with opened(where, "inspect") as persistence:
            if persistence.adapter.traits.confidential and not reveal:
                raise refuse_to_reveal("what is in this store")
            return _found(await persistence.show_quarantined(id), id)

    item = asyncio.run(work())
    if as_json:
        data(to_json({**_facts(item), "data": b64encode(item.data).decode()}))
        return
    sys.stdout.buffer.write(item.data)
    sys.stdout.buffer.flush()


@quarantine.command("restore", short_help="Put bytes back under their key.")
@click.argument("where", shell_complete=complete_store)
@click.argument("id")
@command
def _restore(where: str, id: str, as_json: bool) -> None:
    """Put the bytes back, if this version can read them and the key has no value."""

    async def work() -> Item:
        async with opened(where, "normal") as persistence:
            return _found(await persistence.restore_quarantined(id), id)

    item = asyncio.run(work())
    if as_json:
        data(to_json({"id": id, "key": item.key, "restored": True}))


@quarantine.command("drop", short_help="Throw bytes away.")
@click.argument("where", shell_complete=complete_store)
@click.argument("ids", nargs=-1, required=True)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would be thrown away.")
@command
def _drop(where: str, ids: tuple[str, ...], yes: bool, dry_run: bool, as_json: bool) -> None:
    """Throw the bytes with these IDS away for ever. Asks on a terminal; elsewhere it needs --yes."""
    if not dry_run and not yes:
        if not sys.stdin.isatty():
            raise Ending(ExitCode.USAGE, "throwing bytes away needs --yes where nobody can be asked")
        if not click.confirm(f"Throw {len(ids)} away for ever?", err=True):
            raise Ending(ExitCode.FAILED, "nothing was thrown away")

    async def work() -> list[Item]:
        async with opened(where, "inspect" if dry_run else "normal") as persistence:
            wanted = list(dict.fromkeys(ids))
            found = [_found(await persistence.drop_quarantined(id, dry_run=True), id) for id in wanted]
            for id in () if dry_run else wanted:
                await persistence.drop_quarantined(id)
            return found

    found = asyncio.run(work())
    if as_json:
        data(to_json({"dropped": [item.id for item in found], "dry_run": dry_run}))
    elif dry_run:
        for item in found:
            data(f"would drop {item.id}  {printable(item.key)}")


def _found(item: Item | None, id: str) -> Item:
    if item is None:
        message = f"nothing in quarantine has the id {id!r}"
        raise Ending(ExitCode.NO_SUCH_KEY, message, hint="`quarantine list` shows what lies there")
    return item


def _facts(item: Item) -> dict[str, Any]:
    return {
        "id": item.id,
        "key": item.key,
        "size": item.size,
        "reason": item.reason,
        "at": timestamp(item.at),
    }


@click.command("watch", short_help="Print keys as they change.")
@click.argument("where", shell_complete=complete_store)
@click.argument("prefix", shell_complete=complete_key, default="")
@click.option("--limit", type=click.IntRange(1), help="End after so many changes.")
@command
def watch(where: str, prefix: str, limit: int | None, as_json: bool) -> None:
    """Print every key that begins with PREFIX when it is saved or deleted, until Ctrl-C.

    With --json an object a line. A key that changes often is told once, with its latest version.
    """
    asyncio.run(_watch(where, prefix, limit, as_json))


async def _watch(where: str, prefix: str, limit: int | None, as_json: bool) -> None:
    async with opened(where, "normal") as persistence:
        changes = persistence.changes(prefix)
        waiting = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0)  # from here on nothing is missed
        note("watching; Ctrl-C ends it")
        left = limit
        while left is None or left > 0:
            change = await waiting
            waiting = asyncio.ensure_future(anext(changes))
            left = None if left is None else left - 1
            deleted = change.version is None
            if as_json:
                data(to_json({"key": change.key, "deleted": deleted, "version": change.version}))
            else:
                data(f"{'deleted' if deleted else 'saved'}  {printable(change.key)}")
            sys.stdout.flush()
        waiting.cancel()
