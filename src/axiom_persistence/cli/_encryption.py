"""``encrypt``, ``decrypt`` and ``keys``: an encrypted store and its keys."""

from __future__ import annotations

import asyncio
import shlex
import sys
from typing import TYPE_CHECKING, Any, Literal

import click

from ..errors import ConfigurationError
from ..jobs.walk import OnProgress
from ..persistence.persistence import AdapterBasedPersistence
from ._endings import ExitCode
from ._jobs import Shown, dry_run_option, finish, job, run_job
from ._keys import keys_given
from ._output import counted, data, note, timestamp, to_json
from .base import command, complete_store, opened

if TYPE_CHECKING:
    from ..jobs.encrypt import EncryptionReport
    from ..jobs.rotate import RotationReport
    from ..layers.encrypted import Encrypted

__all__ = ["decrypt", "encrypt", "keys"]


@click.command("encrypt", short_help="Encrypt a plain store, in place.")
@click.argument("where", shell_complete=complete_store)
@dry_run_option
@job
def encrypt(where: str, dry_run: bool, shown: Shown) -> int:
    """Encrypt every record of the store, where it is, under a key of its own that --keys keeps.

    A key file that is not there is made: keep a copy of it. End the programs that use the store first: from
    now on it opens with its key only. Interrupted, or killed, the same command goes on; everything can be
    read meanwhile. At the end nothing is left in clear in the store; copies of it stay as they are.
    """
    _refuse_without_keys("encrypt", where)
    report = _run(where, "encrypt", dry_run, shown)
    done = "would be encrypted" if dry_run else "encrypted"
    if not finish(_facts(report, dry_run), shown):
        note(f"{counted(report.rewritten, 'record')} {done}")
        if report.snapshots:
            note(f"still in clear beside the store: {counted(report.snapshots, 'snapshot')} from before")
    return _ending(report, shown, where)


@click.command("decrypt", short_help="Decrypt an encrypted store, in place.")
@click.argument("where", shell_complete=complete_store)
@dry_run_option
@job
def decrypt(where: str, dry_run: bool, shown: Shown) -> int:
    """Write every record of the store in clear, where it is, and forget its keys.

    Secure fields, too. End the programs that use the store first. Interrupted, or killed, the same command
    goes on; everything can be read meanwhile. What cannot be opened stays as it is, and so do the keys.
    """
    _refuse_without_keys("decrypt", where)
    report = _run(where, "decrypt", dry_run, shown)
    if not finish(_facts(report, dry_run), shown):
        note(f"{counted(report.rewritten, 'record')} {'would be decrypted' if dry_run else 'decrypted'}")
    return _ending(report, shown, where)


def _refuse_without_keys(verb: str, where: str) -> None:
    if keys_given(create=verb == "encrypt") is None:
        raise ConfigurationError(
            f"{verb} needs --keys, which says who has the key",
            hint=f"axiom-persistence {verb} {shlex.quote(where)} --keys keychain",
        )


def _run(where: str, verb: Literal["encrypt", "decrypt"], dry_run: bool, shown: Shown) -> EncryptionReport:
    async def work(progress: OnProgress) -> EncryptionReport:
        async with opened(where, "encrypt" if verb == "encrypt" else "normal") as persistence:
            run = persistence.encrypt if verb == "encrypt" else persistence.decrypt
            return await run(dry_run=dry_run, progress=progress)

    again = shlex.join(["axiom-persistence", *sys.argv[1:]])
    return run_job(work, f"{verb}ing", shown, resume=f"the same command goes on where it was: {again}")


def _facts(report: EncryptionReport, dry_run: bool) -> dict[str, Any]:
    return {
        "records": report.records,
        "rewritten": report.rewritten,
        "damaged": report.damaged,
        "scrubbed": report.scrubbed,
        "snapshots": report.snapshots,
        "dry_run": dry_run,
    }


def _ending(report: EncryptionReport, shown: Shown, where: str) -> ExitCode:
    if report:
        return ExitCode.DONE
    if not (shown.as_json or shown.jsonl):
        note(f"not finished: {counted(report.damaged, 'record')} not readable and left as before")
        note(f"hint: axiom-persistence verify {shlex.quote(where)} --repair")
    return ExitCode.FOUND


@click.group("keys", short_help="Look after the keys of an encrypted store.")
def keys() -> None:
    """Say which keys an encrypted store has, or give it a new one."""


@keys.command("status", short_help="Say which keys there are.")
@click.argument("where", shell_complete=complete_store)
@command
def _status(where: str, as_json: bool) -> None:
    """Say who has the key, which keys records are sealed with, since when, and what is under way. No key."""
    facts = asyncio.run(_about_keys(where))
    if as_json:
        data(to_json(facts))
        return
    data(f"encrypted  {'yes' if facts['encrypted'] else 'no'}")
    if facts["encrypted"]:
        data(f"key from   {facts['provider']}")
        data(f"state      {facts['state'] or 'whole'}")
    for key in facts["keys"]:
        state = "seals" if key["seals"] else f"opens only, since {key['retired']}"
        data(f"key {key['number']:<6} made {key['created']}, {state}")


async def _about_keys(where: str) -> dict[str, Any]:
    async with opened(where, "inspect") as persistence:
        encrypted = _layer(persistence)
        if encrypted is None:
            return {"encrypted": False, "provider": None, "state": "", "keys": []}
        keyset = encrypted.keyset
        return {
            "encrypted": True,
            "provider": encrypted.provider.name,
            "state": "rotating" if keyset.is_rotating else encrypted.passage,
            "keys": [
                {
                    "number": number,
                    "seals": number == keyset.primary,
                    "created": timestamp(key.created),
                    "retired": timestamp(key.retired),
                }
                for number, key in sorted(keyset.keys.items())
            ],
        }


def _layer(persistence: AdapterBasedPersistence) -> Encrypted | None:
    if not persistence.adapter.traits.confidential:
        return None  # and the package that encrypts may not be there
    from ..layers.encrypted import Encrypted

    return persistence.adapter.find(Encrypted)


@keys.command("rotate", short_help="Encrypt every record with a new key.")
@click.argument("where", shell_complete=complete_store)
@job
def _rotate(where: str, shown: Shown) -> int:
    """Make a new data key and encrypt every record with it. Programs that use the store go on.

    Interrupted, or killed, the same command goes on. Exits with 3 when records are damaged, and left as they
    are.
    """
    _refuse_without_keys("keys rotate", where)

    async def work(progress: OnProgress) -> RotationReport:
        async with opened(where, "normal") as persistence:
            return await persistence.rotate_keys(progress=progress)

    report = run_job(work, "rotating", shown, resume="the same command goes on where it was")
    summary = {name: getattr(report, name) for name in ("records", "sealed", "damaged", "destroyed")}
    if not finish(summary, shown):
        note(f"{counted(report.sealed, 'record')} encrypted with the new key")
        if report.damaged:
            note(f"left as before: {counted(report.damaged, 'damaged record')}")
    return ExitCode.FOUND if report.damaged else ExitCode.DONE
