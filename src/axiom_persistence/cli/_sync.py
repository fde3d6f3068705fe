"""``sync``: how far a store is with the other devices, one meeting, a pause, and what lost in conflicts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from ..layers.tracked import DIRTY, SHADOW
from ._endings import Ending, ExitCode
from ._jobs import Shown, finish, job, run_job
from ._keys import provider, remote_keys_option
from ._output import counted, data, note, printable, style, timestamp, to_json
from .base import command, complete_store, opened, suggestion

if TYPE_CHECKING:
    from ..jobs.walk import OnProgress
    from ..persistence.persistence import AdapterBasedPersistence
    from ..storage.adapter import StorageAdapter
    from ..sync import Conflict, SyncDevice, SyncStatus

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
        return
    if not found["known"] and not found["pending"]:
        data("never synchronised")
    else:
        data(f"{counted(found['pending'], 'key')} to be sent, {found['known']:,} known to the other devices")
        conflicts = counted(found["conflicts"], "conflict")
        data(f"{conflicts} remembered; up to date {found['up_to_date'] or 'never'}")
    if found["paused"]:
        data(f"paused since {found['paused']}; `sync resume` goes on")


async def _facts(where: str) -> dict[str, Any]:
    from ..sync._cursor import Cursor  # few stores are synchronised
    from ..sync._listed import listed_conflicts
    from ..sync._pause import paused_since

    async with opened(where, "inspect") as persistence:
        adapter = persistence.adapter
        at = (await Cursor.read(adapter)).at
        return {
            "pending": await _count(adapter, DIRTY),
            "known": await _count(adapter, SHADOW),
            "conflicts": len(await listed_conflicts(adapter)),
            "up_to_date": timestamp(at) if at else None,
            "paused": timestamp(await paused_since(adapter)),
        }


async def _count(adapter: StorageAdapter, prefix: str) -> int:
    count = 0
    async for _ in adapter.keys(prefix):
        count += 1
    return count


# -- with the place where devices meet ---------------------------------------------------------------


_hide_keys: Final = click.option("--hide-keys", is_flag=True, help="The names of keys are hidden there.")


def _meeting(function: Callable[..., Any]) -> Callable[..., Any]:
    """The arguments of what needs the place where devices meet."""
    return _where(click.argument("remote")(remote_keys_option(_hide_keys(function))))


@asynccontextmanager
async def _met(
    where: str, remote: str, remote_keys: str | None, hide_keys: bool, only: tuple[str, ...] = ()
) -> AsyncIterator[AdapterBasedPersistence]:
    from ..sync import Sync

    keys = None if remote_keys is None else provider(remote_keys, option="--remote-keys")
    # By itself it uses no network: there is one meeting, the one that was asked for.
    asked = Sync(remote, keys=only or ("*",), remote_keys=keys, hide_keys=hide_keys, metered=lambda: True)
    async with opened(where, "normal", sync=asked) as persistence:
        yield persistence


@sync.command("now", short_help="Meet the other devices once.")
@_meeting
@click.option("--only", multiple=True, metavar="PATTERN", help="Only keys like this; may be repeated.")
@job
def _now(
    where: str, remote: str, remote_keys: str | None, hide_keys: bool, only: tuple[str, ...], shown: Shown
) -> int:
    """Send what was changed here to REMOTE, where devices meet, and take over what others sent.

    It meets while the store is paused, too. Give the same --only as the program gives keys=. Exits with 3
    where some keys can be neither sent nor taken over.
    """

    async def work(progress: OnProgress) -> SyncStatus:
        async with _met(where, remote, remote_keys, hide_keys, only) as persistence:
            return await persistence.sync.now(progress=progress)

    resume = "nothing is lost; the same command goes on where it was"
    status = run_job(work, "synchronising", shown, resume=resume)
    faults = [{"key": key, "why": why} for key, why in status.faults]
    if not finish({**_figures(status), "faults": faults}, shown):
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


@sync.command("devices", short_help="List the devices that meet there.")
@_meeting
@command
def _devices(where: str, remote: str, remote_keys: str | None, hide_keys: bool, as_json: bool) -> None:
    """List the devices that meet at REMOTE, the one that was last there first; the id is for forget."""

    async def work() -> list[SyncDevice]:
        async with _met(where, remote, remote_keys, hide_keys) as persistence:
            return await persistence.sync.devices()

    found = asyncio.run(work())
    if as_json:
        data(to_json([{**msgspec.structs.asdict(one), "last_met": timestamp(one.last_met)} for one in found]))
        return
    for one in found:
        data(printable(f"{one.id}  {one.name}, last there {timestamp(one.last_met)}"))


@sync.command("forget", short_help="Take a lost device from the list.")
@_where
@click.argument("remote")
@click.argument("device")
@remote_keys_option
@_hide_keys
@command
def _forget(
    where: str, remote: str, device: str, remote_keys: str | None, hide_keys: bool, as_json: bool
) -> None:
    """Take DEVICE, an id that `sync devices` shows, from the list of those that meet at REMOTE.

    What it sent stays on all devices. What it changed after that only it has: if it ever meets the others
    again, that arrives, and it is listed again. To keep it out, change the password or the key of REMOTE.
    Exits with 4 where there is no such device.
    """

    async def work() -> SyncDevice:
        async with _met(where, remote, remote_keys, hide_keys) as persistence:
            known = {one.id: one for one in await persistence.sync.devices()}
            if device not in known or not await persistence.sync.forget(device):
                hint = suggestion(device, known) or "`sync devices` lists them"
                raise Ending(ExitCode.NO_SUCH_KEY, f"no device {device!r} meets there", hint=hint)
            return known[device]

    gone = asyncio.run(work())
    met = timestamp(gone.last_met)
    if as_json:
        data(to_json({**msgspec.structs.asdict(gone), "last_met": met}))
    else:
        note(printable(f"forgotten: {gone.id}, {gone.name}"))
        note(
            f"what it sent stays; what it changed after {met} only it has, and arrives if it ever comes back"
        )


# -- a pause -----------------------------------------------------------------------------------------


@sync.command("pause", short_help="Meet no more until resume.")
@_where
@command
def _pause(where: str, as_json: bool) -> None:
    """Have no program send or take over anything for this store, until `sync resume`.

    It holds for programs that have the store open now, and for those that open it later. What is changed
    meanwhile is sent then. `sync now` meets all the same.
    """
    asyncio.run(_set_pause(where, on=True))
    _say(as_json, "paused")


@sync.command("resume", short_help="Go on after a pause.")
@_where
@command
def _resume(where: str, as_json: bool) -> None:
    """End what `sync pause` began, or a program's own pause."""
    asyncio.run(_set_pause(where, on=False))
    _say(as_json, "resumed")


async def _set_pause(where: str, *, on: bool) -> None:
    from ..sync._pause import set_pause

    async with opened(where, "normal") as persistence:
        await set_pause(persistence._store, on=on)


def _say(as_json: bool, what: str) -> None:
    if as_json:
        data(to_json({"paused": what == "paused"}))
    else:
        note(what)


# -- conflicts ---------------------------------------------------------------------------------------


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
