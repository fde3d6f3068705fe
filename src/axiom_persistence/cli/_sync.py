"""``sync``: how far a store is with the other devices, one meeting, and what lost in conflicts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from ..layers.tracked import DIRTY, SHADOW
from ._endings import Ending, ExitCode
from ._output import counted, data, note, printable, style, timestamp, to_json
from .base import command, complete_store, opened

if TYPE_CHECKING:
    from ..storage.adapter import StorageAdapter
    from ..sync import Conflict, SyncStatus

__all__ = ["sync"]

_where: Final = click.argument("where", shell_complete=complete_store)


@click.group("sync", short_help="Keep a store the same as on other devices.")
def sync() -> None:
    """Look at the synchronisation of a store, meet the other devices, take back what lost."""


@sync.command("status", short_help="Say how far it is.")
@_where
@command
def _status(where: str, as_json: bool) -> None:
    """Say how many keys wait to be sent, and when this device was last up to date. Changes nothing."""
    found = asyncio.run(_facts(where))
    if as_json:
        data(to_json(found))
    elif not found["known"] and not found["pending"]:
        data("never synchronised")
    else:
        data(f"{counted(found['pending'], 'key')} to be sent, {found['known']:,} known to the other devices")
        conflicts = counted(found["conflicts"], "conflict")
        data(f"{conflicts} remembered; up to date {found['up_to_date'] or 'never'}")


async def _facts(where: str) -> dict[str, Any]:
    from ..sync._cursor import Cursor  # few stores are synchronised
    from ..sync._listed import listed_conflicts

    async with opened(where, "inspect") as persistence:
        adapter = persistence.adapter
        at = (await Cursor.read(adapter)).at
        return {
            "pending": await _count(adapter, DIRTY),
            "known": await _count(adapter, SHADOW),
            "conflicts": len(await listed_conflicts(adapter)),
            "up_to_date": timestamp(at) if at else None,
        }


async def _count(adapter: StorageAdapter, prefix: str) -> int:
    count = 0
    async for _ in adapter.keys(prefix):
        count += 1
    return count


@sync.command("now", short_help="Meet the other devices once.")
@_where
@click.argument("remote")
@click.option("--only", multiple=True, metavar="PATTERN", help="Only keys like this; may be repeated.")
@command
def _now(where: str, remote: str, only: tuple[str, ...], as_json: bool) -> int:
    """Send what was changed here to REMOTE, where devices meet, and take over what others sent.

    Give the same --only as the program gives keys=. Exits with 3 where some keys can be neither sent nor
    taken over.
    """
    status = asyncio.run(_met(where, remote, only))
    if as_json:
        data(to_json({**_figures(status), "faults": dict(status.faults)}))
    else:
        for key, why in status.faults:
            data(f"{style('✖', 'red')} {printable(key)}: {printable(why)}")
        sent, size = counted(status.sent, "key"), counted(status.bytes_sent, "byte")
        note(f"{sent} sent ({size}), {status.received:,} received")
        if status.conflicts:
            note(f"{counted(status.conflicts, 'conflict')}; `sync conflicts` shows what lost")
    return ExitCode.FOUND if status.faults else ExitCode.DONE


def _figures(status: SyncStatus) -> dict[str, int]:
    names = ("pending", "sent", "received", "conflicts", "bytes_sent", "bytes_received", "bytes_saved")
    return {name: getattr(status, name) for name in names}


async def _met(where: str, remote: str, only: tuple[str, ...]) -> SyncStatus:
    from ..sync import Sync

    # By itself it uses no network: there is one meeting, the one that was asked for.
    asked = Sync(remote, keys=only or ("*",), metered=lambda: True)
    async with opened(where, "normal", sync=asked) as persistence:
        return await persistence.sync.now()


@sync.command("conflicts", short_help="List what lost.")
@_where
@command
def _conflicts(where: str, as_json: bool) -> None:
    """List what lost to a change on another device, the oldest first; the number is for take-back."""

    async def work() -> list[Conflict]:
        from ..sync._listed import listed_conflicts

        async with opened(where, "inspect") as persistence:
            return await listed_conflicts(persistence.adapter)

    found = asyncio.run(work())
    if as_json:
        data(to_json([{**msgspec.structs.asdict(one), "lost": one.lost} for one in found]))
        return
    for number, one in enumerate(found, 1):
        field = f" {one.field}" if one.field else ""
        data(printable(f"{number}  {one.key}{field}: lost {to_json(one.lost)}, kept {to_json(one.kept)}"))


@sync.command("take-back", short_help="Save again what lost.")
@_where
@click.argument("number", type=click.IntRange(1))
@command
def _take_back(where: str, number: int, as_json: bool) -> None:
    """Save what conflict NUMBER of `sync conflicts` lost, as a change of now.

    It is sent at the next meeting. Exits with 4 where there is no such conflict or the key is gone.
    """

    async def work() -> Conflict:
        from ..sync._listed import listed_conflicts, take_back

        async with opened(where, "normal") as persistence:
            found = await listed_conflicts(persistence.adapter)
            if number > len(found):
                raise Ending(
                    ExitCode.NO_SUCH_KEY, f"there are {len(found)} conflicts", hint="list them again"
                )
            conflict = found[number - 1]
            if not await take_back(persistence._store, conflict):
                raise Ending(ExitCode.NO_SUCH_KEY, "the key is not there any more", key=conflict.key)
            return conflict

    conflict = asyncio.run(work())
    if as_json:
        data(to_json({"key": conflict.key, "field": conflict.field, "value": conflict.lost}))
    else:
        note(f"saved again: {printable(conflict.key)}")
