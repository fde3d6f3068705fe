"""A task that is cancelled ends, Ctrl-C included, whatever it waited for."""

import asyncio
from pathlib import Path

import axiom_persistence
from axiom_persistence.testing import torture

SOURCE = Path(axiom_persistence.__file__).parent


class Line:
    """A line that arrives in the same turn of the loop in which who waits for it is cancelled."""

    def __init__(self):
        self.arrived = asyncio.get_running_loop().create_future()
        self.stdout = self

    async def readline(self):
        return await self.arrived


async def test_a_line_that_arrives_meanwhile_does_not_undo_it():
    """Seen before Python 3.12 with ``asyncio.wait_for``: the demo went on after Ctrl-C."""
    for turns in range(4):
        nursery = object.__new__(torture._Nursery)
        nursery._process = line = Line()
        task = asyncio.create_task(nursery.hear())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        line.arrived.set_result(b"ready\n")
        for _ in range(turns):
            await asyncio.sleep(0)
        is_late = task.done()
        task.cancel()
        await asyncio.wait([task])
        assert is_late or task.cancelled()


def test_nothing_waits_in_the_way_that_loses_it():
    """``asyncio.timeout`` stands in its place."""
    users = [
        file.name for file in SOURCE.rglob("*.py") if "asyncio.wait_for(" in file.read_text(encoding="utf-8")
    ]
    assert users == []
