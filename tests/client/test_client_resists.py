"""What applications do to their clients, and what must never leave a secret."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from axiom_persistence import Client, client_state, open_persistence
from axiom_persistence.testing.confidential import ConfidentialMemory

SECRET = "correct horse battery staple"


class Watched(Client):
    number: int = client_state(0)

    def state_did_update(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        if new["number"] == 13:
            raise RuntimeError("an unlucky number")


class Listed(Client):
    items: list[str] = client_state(default_factory=list)


async def test_a_hook_that_raises_does_not_end_the_watch(tmp_path: Path) -> None:
    """After a hook failed on a change from elsewhere, it is told and later changes still arrive."""
    told = asyncio.Event()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.set())
    path = tmp_path / "store.db"
    async with (
        asyncio.timeout(30),
        open_persistence(path) as here,
        open_persistence(path) as there,
        Watched(here) as client,
    ):
        await there.save("Watched/number", 13)
        await told.wait()
        await there.save("Watched/number", 14)
        while client.number != 14:
            await asyncio.sleep(0.01)


async def test_a_list_that_was_appended_to_before_the_restore_is_saved_by_close() -> None:
    """A change inside a value of a client that was never restored is kept when it is closed."""
    async with open_persistence("memory:") as persistence:
        client = Listed(persistence)
        client.items.append("kept")
        await client.close()
        async with Listed(persistence) as again:
            assert again.items == ["kept"]


async def test_a_damaged_secret_is_in_no_log_and_no_report(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of confidential bytes that are no record any more, nothing is quoted anywhere."""
    caplog.set_level(logging.DEBUG)
    secure = ConfidentialMemory()
    async with open_persistence(tmp_path / "store.db", secure=secure) as persistence:
        await persistence.secure.save("token", SECRET)
        await secure.commit({"token": SECRET.encode()})
        await persistence.secure.load("token", str)
        (report,) = persistence.secure.reports
        assert report.key == "token"
        assert SECRET[:8] not in repr(report)
    assert SECRET[:8] not in caplog.text
